"""The only loop: asks the strategy, has evaluations launched, records what becomes of them."""
