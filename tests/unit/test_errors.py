import sys

import pytest

from lightseek import errors
from lightseek.errors import LightSeekError, MissingExtraError, require


def test_every_error_is_one_that_the_command_line_prints() -> None:
    kinds = [v for v in vars(errors).values() if isinstance(v, type)]
    assert all(issubclass(k, LightSeekError) for k in kinds if issubclass(k, Exception))


def test_a_module_that_is_there_is_imported() -> None:
    assert require("json", extra="train") is sys.modules["json"]


@pytest.mark.parametrize("module", ["no_such_module", "no_such_module.inner"])
def test_a_missing_extra_says_how_to_get_it(module: str) -> None:
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[train\]'$") as error:
        require(module, extra="train")
    assert str(error.value).startswith("no_such_module is not installed")
