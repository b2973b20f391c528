"""The control socket: how the owner looks at a running kiosk, and moves it, from afar."""
