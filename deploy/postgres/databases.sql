-- One database for each participant, beside the journal: none can touch another's rows.
CREATE DATABASE shop_order;
CREATE DATABASE shop_inventory;
CREATE DATABASE shop_coupon;
CREATE DATABASE shop_balance;
CREATE DATABASE shop_member;
CREATE DATABASE shop_notification;
