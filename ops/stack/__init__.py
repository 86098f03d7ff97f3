"""The whole product on one machine, as in production: `make stack`, `make stack-stop` (docs/stack.md)."""
