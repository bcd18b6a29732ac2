"""The options of suites, which stand among those of every encoder's `evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from formers.errors import ConfigError
from formers.fields import Between, check
from formers.systems.system import Typed

Suite = Literal["sts", "senteval", "glue-like"]


@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """Measuring an encoder on the sets that papers measure with."""

    suite: Suite | None = None
    """Measure an encoder as the papers do."""
    data_folder: Annotated[Path | None, Typed("FOLDER")] = None
    """The sets of --suite: FOLDER/sst2/ ..."""
    only: Annotated[tuple[str, ...], Typed("SET")] = ()
    """Only this set of --suite."""
    folds: Annotated[int, Between(2)] = 10
    """Folds of --suite (SentEval: 10)."""

    def __post_init__(self) -> None:
        check(self, lambda name: "--" + name.replace("_", "-"))
        if self.suite is None and (self.data_folder is not None or self.only):
            raise ConfigError(f"--data-folder and --only are of --suite {'|'.join(get_args(Suite))}")

    def check_data(self, data: str) -> None:
        """Refuse a suite of nothing, and --data with a suite that has sets. Raises ConfigError."""
        if data and (self.suite != "sts" or self.data_folder is not None):
            raise ConfigError("--data FILE.csv (two texts and a score) is for --suite sts, in place of --data-folder")
        if self.data_folder is None and not data:
            raise ConfigError(
                f"--suite {self.suite} on what? give --data-folder FOLDER, which holds the sets (sts/"
                "2012-test.parquet, sst2/train.parquet, sentences/mr.parquet ...)"
            )


NO_SUITE = SuiteOptions()
