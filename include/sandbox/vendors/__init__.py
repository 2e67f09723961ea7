"""One module per simulated vendor. ``include.sandbox.vendor`` explains how to add a vendor."""
