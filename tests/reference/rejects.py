"""docs/reference/reject-reasons.md: every reason, a sentence, and the files that give it."""

from enum import StrEnum

from data_specs.reject import IgnoredReason, RejectReason
from tests.reference.code import files
from tests.reference.markdown import code, page, table

INTRO = """
A sample that fails a check is a *reject*. The ledger keeps it with its reason and a detail. Commands,
reports and `cleanplate metrics` count rejects by reason. Compositing also keeps the images of a few
rejects of each reason, in shards of the stage `refused`.
"""
IGNORED_INTRO = """
A file or a line that is no part of a sample is *ignored*. It is counted, not kept.
"""

REJECTED: dict[str, str] = {
    "UNREADABLE": "The file is no JPEG, PNG or video that can be read, or its permissions forbid it.",
    "TRUNCATED": "The file ends before its image does.",
    "DAMAGED": "The file's data contradict themselves, so the decoder would have to guess.",
    "NOT_8_BIT": "The image has 16 or more bits in each channel.",
    "NOT_RGB": "The image is neither RGB nor grey, or it has transparent pixels.",
    "ROTATED_BY_EXIF": "The EXIF orientation is not upright, so image and mask may not fit each other.",
    "TOO_MANY_PIXELS": "The image has more pixels than the config allows, so it is not decoded.",
    "TOO_SMALL": "The image is smaller than the sample, the plate or the model needs.",
    "SIZE_MISMATCH": "The images of one sample have different sizes.",
    "MASK_EMPTY": "The mask marks nothing.",
    "MASK_FULL": "The mask marks every pixel, so no background is left.",
    "MASK_AREA": "The masked fraction of the image is below the minimum or above the maximum.",
    "MASK_INVERTED": "The mask marks what stays: the images differ outside it, and hardly inside.",
    "MISSING_FILE": "A file that the record or the folder needs does not exist.",
    "OUTSIDE_FOLDER": "The record's path leads out of the source's folder.",
    "CLASS_EXCLUDED": "The config excludes the object's class.",
    "CLASS_FULL": "The class already has as many items as the config allows.",
    "BAD_RECORD": "The record cannot be parsed, or two files have one name.",
    "FOREIGN_PICKLE": "The pickle names something besides arrays, images and plain containers.",
    "CROWD": "The annotation marks a crowd of objects as one.",
    "CAMERA_MOVED": "The camera moved, or nearly everything changed, so the images show no common view.",
    "NO_CHANGE": "The two images show no difference that could be an object.",
    "DUPLICATE": "The dataset already has this sample.",
    "TWO_SPLITS": "The image is close to two scenes that belong to different splits.",
    "CUT_BY_BORDER": "The image's border cuts the object or its effect.",
    "LIGHT_UNTOLD": "The depth shows no horizon, so the shadow's direction on the ground is unknown.",
    "NO_GROUND": "Too little of the image is ground.",
    "NOT_FLAT": "The image shows ground, but too little of it is flat.",
    "UNFAMILIAR": "The ground segmenter disagrees with itself on the mirrored image.",
    "NO_SCALE": "The depth is unknown where the object stands, so its size is unknown.",
    "LARGER_THAN_PLATE": "The cut-out does not fit on the plate at the scale of its place.",
    "ENLARGED": "The place is so near that the cut-out would have to be enlarged.",
    "TOO_FAR": "The place is so far away that the object would be smaller than the minimum.",
    "OFF_GROUND": "The object's foot would not stand on flat ground.",
    "OVER_BORDER": "The object or its effect would come too near to the image's border.",
    "HIDDEN": "Something of the plate stands in front of the place.",
    "EFFECT_OFF_GROUND": "The shadow or reflection reaches beyond the flat ground.",
    "OTHER_VIEW": "The camera saw the object at another angle than the place is seen at.",
    "OVERLAP": "The object would hide too much of the other object, or be hidden by it.",
    "IN_SHADOW": "The object would stand in the other object's shadow.",
    "NO_PARTNER": "Two objects are wanted, and no other cut-out has the first one's shadow class.",
    "NO_OBJECT": "No object to paste is whole and large enough for the image.",
    "UNEXPLAINED": "The pair differs in a region that no detected object explains.",
    "MANY_CHANGES": "The pair differs in several objects, so the removed one is unclear.",
    "UNKNOWN_CANDIDATE": "The imported answer names a candidate that the ledger does not have.",
    "ANSWERED_OTHERWISE": "The same reviewer gave this candidate another answer before.",
}
IGNORED: dict[str, str] = {
    "OTHER_FORMAT": "The file's name has no ending of JPEG or PNG.",
    "NO_VIDEO": "The file's name has no ending of a video.",
    "ELSEWHERE": "The file lies in a folder that the source does not read.",
    "LINKED_FOLDER": "A symbolic link leads to a folder. Such links are not followed.",
    "NO_FILE": "The entry is a pipe, a socket or a device.",
    "UNNAMED": "No record names the file.",
    "OTHER_PART": "The file does not belong to the part of the data set that is read.",
    "OBJECT": "The image is an object to paste, so it is no sample itself.",
    "LONELY_OBJECT": "An object to paste has no image or no mask.",
    "EMPTY_LINE": "The line is empty.",
}


def render() -> str:
    """The page."""
    return page(
        "Reject reasons",
        INTRO,
        _table(RejectReason, REJECTED),
        "## Ignored files",
        IGNORED_INTRO,
        _table(IgnoredReason, IGNORED),
    )


def _table(kind: type[StrEnum], sentences: dict[str, str]) -> str:
    texts = files("*.py")
    rows = [
        (
            code(reason.value),
            sentences[reason.name],
            ", ".join(
                code(path)
                for path, text in texts.items()
                if f"{kind.__name__}.{reason.name}" in text and not path.startswith("data_specs/")
            ),
        )
        for reason in kind
    ]
    return table(("Reason", "What it means", "Given in"), rows)
