"""How much the processes of a distributed job exchange."""

from __future__ import annotations

import json
from typing import Any

import killed
import messages
import pytest
from messages import CLASSES, DETECTIONS, IMAGES, OBJECTS, STEPS

pytestmark = pytest.mark.xdist_group("whole")  # the fork server is ready there


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """Number of gloo processes -> what each of them counted."""
    folder = tmp_path_factory.mktemp("messages")
    found = {}
    for number in (2, 4):
        log = folder / f"log-{number}.txt"
        job = [killed.call(messages.count, folder, number, log=log, **rank) for rank in killed.ranks(number)]
        assert killed.finish_together(job) == [0] * number, log.read_text()
        found[number] = [json.loads((folder / f"{number}-{rank}.json").read_text()) for rank in range(number)]
    return found


def test_a_loss_with_a_state_sends_one_message_of_eight_bytes_a_step(counted: Any) -> None:
    """Each forward of WIoU in training is one all-reduce of a sum and a count, however many processes there are."""
    for ranks in counted.values():
        assert all(rank["steps"] == [["allreduce_", 8, 8]] * STEPS for rank in ranks)


def test_an_evaluation_sends_four_messages(counted: Any) -> None:
    """Detections and targets go to the first process, and its numbers to all, in two messages each: size and content.

    Their number depends neither on the number of processes nor on that of the classes.
    """
    for ranks in counted.values():
        for rank in ranks:
            assert [name for name, *_ in rank["evaluation"]] == ["allgather_", "gather_", "broadcast_", "broadcast_"]


def test_only_the_first_process_receives_detections(counted: Any) -> None:
    """It gets each image once, in 28 bytes a detection, 36 an object and a few hundred; the others get its numbers."""
    for number, (first, *others) in counted.items():
        _, gathered, *_ = first["evaluation"]
        content = 28 * DETECTIONS + 36 * OBJECTS
        assert IMAGES * content < gathered[2] < IMAGES * (content + 700)
        assert gathered[1] * number == gathered[2]
        for rank in others:
            received = sum(got for _, _, got in rank["evaluation"])
            assert received < 8 * number + 8 + 60 * (12 + CLASSES) + 100
            assert rank["evaluation"][1] == ["gather_", gathered[1], 0]


def test_each_process_has_the_numbers(counted: Any) -> None:
    """The first process has the detections of all images, the others those of their own; all can monitor the AP."""
    for number, ranks in counted.items():
        assert [rank["detections"] for rank in ranks] == [
            [*range(IMAGES)],
            *([*range(own, IMAGES, number)] for own in range(1, number)),
        ]
        assert len({rank["monitored"] for rank in ranks}) == 1
