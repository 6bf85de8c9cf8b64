"""Sessions bound to the device, in a real Chromium over HTTPS."""
