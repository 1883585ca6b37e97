# SPDX-License-Identifier: MIT
"""The cases of one test script: each says in its docstring what it shows, gets a line of its own, and does not keep the next one
from running. Words on the command line choose those that have all of them. Standard library only.

    class Test(Cases): ...
    @t.case
    def _():
        \"""a host without a disk is refused in one sentence\"""
    return t.end()
"""

import sys
import threading
import time
import traceback


class Cases:
    passed = failed = 0
    lock = threading.Lock()     # cases may run side by side

    def one(self, f):
        """A case, and what is asked after each of them; a text that it returns is shown."""
        return f()

    def failed_at(self):
        """What else to show of a case that failed."""
        return ""

    def over(self):
        """A case has ended, this way or that: what it started is stopped."""

    def case(self, f):
        if not all(word in f.__doc__ for word in sys.argv[1:]):
            return
        began = time.monotonic()
        try:
            note = self.one(f)
            self.say(True, f"ok {f.__doc__} ({note or f'{time.monotonic() - began:.0f} s'})")
        except Exception as e:
            at = [x for x in traceback.extract_tb(e.__traceback__) if x.filename == f.__code__.co_filename][-1:]
            where = f"line {at[0].lineno}: {at[0].line}: " if at else ""
            more = "".join(f"\n    {line}" for line in self.failed_at().splitlines())
            self.say(False, f"not ok {f.__doc__}: {where}{type(e).__name__}: {e}{more}")
        finally:
            self.over()

    def say(self, good, text):
        with self.lock:
            print(text, flush=True)
            self.passed += good
            self.failed += not good

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0
