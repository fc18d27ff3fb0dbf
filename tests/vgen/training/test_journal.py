import pytest
from tensorboardX.proto import event_pb2

from vgen.errors import StorageError
from vgen.training.journal import Journal, read_curves


def rows(*steps):
    return [{"step": step, "stage": "window", "elapsed_s": 1.5, "loss": step / 2} for step in steps]


def events_of(folder):
    """Read TensorBoard's record format: length, checksum, event, checksum."""
    found = []
    for path in sorted(folder.glob("events/events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            found.append(event_pb2.Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def test_rows_are_published_and_read_back(tmp_path):
    with Journal(str(tmp_path), step=0) as journal:
        for row in rows(1, 2):
            journal.add(row)
        assert read_curves(str(tmp_path)) == []
        journal.publish()
    assert read_curves(str(tmp_path)) == rows(1, 2)


def test_a_run_that_goes_on_drops_what_lies_beyond_its_checkpoint(tmp_path):
    with Journal(str(tmp_path), step=0) as journal:
        for row in rows(1, 2, 3):
            journal.add(row)
        journal.publish()
    with Journal(str(tmp_path), step=2) as journal:
        journal.add(rows(3)[0] | {"loss": 9.0})
        journal.publish()
    assert [row["loss"] for row in read_curves(str(tmp_path))] == [0.5, 1.0, 9.0]


def test_scalars_and_pictures_are_there_for_tensorboard(tmp_path):
    with Journal(str(tmp_path), step=0) as journal:
        journal.add(rows(7)[0])
        journal.add_picture(b"png", step=7)
        journal.publish()
    assert (tmp_path / "pictures" / "00000007.png").read_bytes() == b"png"
    values = [(e.step, v) for e in events_of(tmp_path) for v in e.summary.value]
    assert {(step, v.tag) for step, v in values} == {
        (7, "loss"),
        (7, "elapsed_s"),
        (7, "restored"),
    }
    (picture,) = [v for _, v in values if v.tag == "restored"]
    assert picture.image.encoded_image_string == b"png"


def test_large_pictures_are_published_whole(tmp_path):
    large = bytes(1 << 20)
    with Journal(str(tmp_path), step=0) as journal:
        for step in range(1, 9):
            journal.add_picture(large, step=step)
            journal.publish()
            pictures = [v for e in events_of(tmp_path) for v in e.summary.value]
            assert [len(v.image.encoded_image_string) for v in pictures] == [len(large)] * step


def test_tensorboard_is_told_where_a_repeated_attempt_begins(tmp_path):
    with Journal(str(tmp_path), step=4) as journal:
        journal.publish()
    starts = [e.step for e in events_of(tmp_path) if e.HasField("session_log")]
    assert starts == [5]


def test_damaged_curves_are_named(tmp_path):
    for content in (b"{", b"\xff", b"7\n"):
        (tmp_path / "curves.jsonl").write_bytes(content)
        with pytest.raises(StorageError, match=r"curves\.jsonl' is damaged; delete it"):
            read_curves(str(tmp_path))
