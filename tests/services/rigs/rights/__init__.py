"""An app that declares topics whose rights tests give and take away (docs/topics.md)."""
