"""Files that are given as COCO files."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re

import pytest
from coco_files import write

from detloss.errors import DataError
from detloss.training.data.dataset import CocoDataset
from detloss.training.data.records import read_records

IMAGE = '"images": [{"id": 1, "file_name": "a.png"}]'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON: EOF"),
        ('{"images": [}', "cannot be read as JSON: expected value at line 1 column 13"),
        ('{"images":' + "[" * 100_000, "cannot be read as JSON: recursion limit"),
        ('{"images": []}', "'images' is empty"),
        ('{"images": 3}', "'images' is 3, not a list"),
        ('{"images": null}', "'images' is null, not a list"),
        ("{}", "the content has no 'images'"),
        ("null", "the content is null, not an object"),
        ('{"images": [{"file_name": "a.png"}]}', "'images' entry 1 has no 'id'"),
        ('{"images": [{"id": 1, "file_name": 5}]}', "'images' entry 1 'file_name' is 5, not text"),
        ('{"images": [{"id": 1}]}', "'images' entry 1 has no 'file_name'"),
        ('{"images": [{"id": true}]}', "'images' entry 1 'id' is true, not a number or text"),
        (f'{{{IMAGE}, "categories": [{{"id": 1}}, {{"id": null}}]}}', "'categories' entry 2 'id' is null, not"),
        (f'{{{IMAGE}, "categories": [{{"id": NaN}}]}}', "'categories' entry 1 'id' is NaN, not"),
        (f'{{{IMAGE}, "categories": [{{"id": 1, "name": null}}]}}', "'categories' entry 1 'name' is null, not text"),
        (f'{{{IMAGE}, "annotations": [{{}}, null]}}', "'annotations' entry 2 is null, not an object"),
    ],
)
def test_what_is_no_coco_file_is_refused(tmp_path, content, message):
    """A file that is no COCO JSON is an error that says what was found, what was expected and where."""
    file = write(tmp_path)
    file.write_text(content)
    with pytest.raises(DataError, match=re.escape(message)):
        CocoDataset(tmp_path, file)


def test_all_faults_are_in_one_error(tmp_path):
    """One error lists the faults of images, categories and annotations; of many it lists ten and counts the rest."""
    file = write(tmp_path, images=[None, {"id": None}], categories=None, annotations=[7])
    with pytest.raises(DataError) as error:
        read_records(file)
    # An image, an id, a missing file_name, the categories and an annotation, between the first line and the advice.
    assert len(str(error.value).splitlines()) == 1 + 5 + 1
    with pytest.raises(DataError, match=r"'images' entry 10 is null.*\n  \.\.\. and 15 more\nFix: "):
        read_records(write(tmp_path, images=[None] * 25))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (gzip.compress(b"{}", mtime=0), "is compressed by gzip"),
        (bz2.compress(b"{}"), "is compressed"),
        (lzma.compress(b"{}"), "is compressed"),
        (b"PK\x03\x04....", "is an archive"),
        (b"\x89PNG\r\n\x1a\n", "is an image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "is a pointer of Git LFS"),
        (b"<annotation><folder>VOC2007</folder></annotation>", "Pascal VOC"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<annotation/>', "Pascal VOC"),
        (b"0 0.5 0.5 0.25 1e-2\n1 0.5 0.5 0.1 0.1\n", "YOLO label file"),
        (b"3 0.1 0.1 0.2 0.1 0.2 0.2", "YOLO label file"),
        (b"./images/a.jpg\n./images/b.jpg\n", "list of image files"),
        (b"# COCO8\npath: ../coco8\ntrain: images/train\nnames:\n  0: person\n", "YOLO's data.yaml"),
        (b"nc: 1\nnames: [a]", "YOLO's data.yaml"),
        (b"filename,width,height,class\na.jpg,1,2,cat\n", "CSV"),
        (b'{"image": "a.jpg"}\n{"image": "b.jpg"}\n', "JSON lines"),
        (b"[]", "is a JSON list"),
        (b'[{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "score": 0.5}]', "COCO results"),
        (b'{"version": "5.0.1", "shapes": [], "imagePath": "a.jpg"}', "labelme"),
        (b'{"_via_settings": {}, "_via_img_metadata": {}}', "VGG Image Annotator"),
        (b'{"type": "FeatureCollection", "features": []}', "GeoJSON"),
    ],
)
def test_another_kind_of_file_is_named(tmp_path, content, kind):
    """A file of another format is named for what it is, with what is expected."""
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.json is .*{kind}|a\.json {kind}") as error:
        read_records(tmp_path / "a.json")
    assert "Fix: give `annotations` the path of a COCO JSON file" in str(error.value)


@pytest.mark.parametrize(
    ("name", "kind"), [("a.xml", "of Pascal VOC annotations"), ("a.txt", "of YOLO labels"), ("a.json", "of JSON files")]
)
def test_a_folder_is_named(tmp_path, name, kind):
    """A folder in place of a file is named, and what it holds."""
    with pytest.raises(DataError, match=r"is a folder\. Fix"):
        read_records(tmp_path)
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=f"is a folder {kind}"):
        read_records(tmp_path)


def test_only_regular_files_are_read(tmp_path):
    """A fifo, which would be waited for, is refused; a path that cannot exist is a DataError too."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DataError, match="is not a regular file"):
        read_records(tmp_path / "fifo")
    with pytest.raises(DataError, match=r"a\\x00b cannot be read"):
        read_records(tmp_path / "a\0b")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_every_encoding_of_json_is_read(tmp_path, encoding):
    """A file with a byte order mark, in UTF-8, UTF-16 or UTF-32, is read."""
    file = write(tmp_path)
    file.write_bytes(file.read_text().encode(encoding))
    assert [image["id"] for image in read_records(file)["images"]] == [7, 9]


def test_a_missing_file_is_an_error(tmp_path):
    """An annotation file that is not there is named."""
    with pytest.raises(DataError, match="does not exist"):
        CocoDataset(tmp_path, tmp_path / "none.json")
