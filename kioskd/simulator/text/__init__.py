"""The simulator's other doors: Responses and chat over a WebSocket, chat and sound over HTTP."""
