"""What runs the product: the stack of one machine, its services, production files (docs/operations.md)."""
