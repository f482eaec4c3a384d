"""What a benchmark has cost so far, over all its runs on one work folder."""

import time
from pathlib import Path

from hmralign.storage.json_file import HEADER, read_json
from hmralign.storage.whole_file import write_json


class SpentCpu:
    """Seconds of the processor, of this process and of those that went before it; kept in a file.

    Raises InputError for a file that is not one of these.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._began = path, time.process_time()
        self._before = float(read_json(path, "seconds of the processor", HEADER)) if path.exists() else 0.0

    def seconds(self) -> float:
        """All of them until now, kept for a run that goes on after this one."""
        total = self._before + time.process_time() - self._began
        write_json(self.path, total)
        return total

    def minutes(self) -> float:
        """The same in minutes."""
        return self.seconds() / 60
