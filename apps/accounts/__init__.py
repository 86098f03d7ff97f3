"""Sign-in, sign-out, password change and the user's own page (docs/demo.md)."""
