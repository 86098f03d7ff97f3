"""The example application: a long task, news for everybody, articles with live comments (docs/demo.md)."""
