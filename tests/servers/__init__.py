"""Servers to test against: each module has `find_or_install() -> Found` and `start(folder) -> Server`."""
