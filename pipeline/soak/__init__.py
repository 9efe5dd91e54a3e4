"""Mode 4, the self-feeding soak test: generate files, relay them, feed each arrival back, and account for every one.

The *feeder* drops files and feeds them back, the *judge* compares every arrival with what it has to be and keeps the
accounts; both are processes beside those that Modes 1 to 3 run. Neither is told anything by the relay itself.
"""
