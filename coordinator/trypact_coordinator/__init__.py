"""The trypact coordinator: a pure core that decides, and a thin shell that obeys."""
