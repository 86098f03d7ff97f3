"""The project's own socket (docs/architecture.md)."""

# mypy: ignore-errors

from channels.generic.websocket import WebsocketConsumer


class Room(WebsocketConsumer):
    """Greets by name and says what it hears."""

    def connect(self):
        self.accept()
        self.send(f"hello {self.scope['user'].get_username()}")

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data)
