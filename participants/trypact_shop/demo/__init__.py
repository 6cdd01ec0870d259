"""A show in five scenes: the shop sells, refuses, is killed twice in mid-flight, and adds up."""
