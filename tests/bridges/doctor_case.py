"""An examination that goes as its bed's name says: for the tests of what the doctor makes of it."""

import os
import time
from collections.abc import Iterator

from hypnostream.bridges.doctor import OK, PROBLEM, Check
from hypnostream.config import BedConfig


def examine(config: BedConfig) -> Iterator[Check]:
    yield Check("first", OK, "a line\nand \x1b[2Jmore")
    print('{"name": "forged"}\nnative library says \xff something', flush=True)
    if config.name == "hangs":
        time.sleep(60)
    if config.name == "aborts":
        os.abort()
    if config.name == "raises":
        raise ValueError("what\nwas wrong")
    yield Check("second", PROBLEM, "broken", "mend it")
