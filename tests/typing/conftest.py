"""The files beside this are for type checkers: to import them would run what must fail."""

collect_ignore = ["must_pass.py", "must_fail.py"]
