"""`manage.py realtime doctor`: finds out why events do not arrive (docs/doctor.md)."""
