"""What stands for a guest in its Pod and before its QEMU: two programs in C, and how hyperd speaks with them."""
