"""One module per simulated vendor. ``include.sandbox.vendor`` says how to add one."""
