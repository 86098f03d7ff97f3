"""What a project's own tests need: which events were sent, and a browser that gets them (docs/testing.md)."""

from .browser import AsyncBrowser, Browser
from .captured import Captured, capture_events
from .events import CapturedEvent

__all__ = ["AsyncBrowser", "Browser", "Captured", "CapturedEvent", "capture_events"]
