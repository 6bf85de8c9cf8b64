"""What a running site says about itself: request ids, traces, metrics, and error reports without secrets."""
