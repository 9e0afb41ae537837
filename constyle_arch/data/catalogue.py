"""The data sets that `datasets/README.md` describes."""

SECTIONS = {
    "OTS": "RESIDE OTS (outdoor training set)",
    "SOTS-outdoor": "RESIDE SOTS outdoor",
    "sample-dehaze": "Sample: hazed photographs",
}
"""The `name` of a data set in an option file, and its section of `datasets/README.md`."""

OWN_IMAGES = "Images of your own"


def how_to_get(name: str) -> str:
    """Where a user reads how to get the data set `name`."""
    return f'datasets/README.md, section "{SECTIONS.get(name, OWN_IMAGES)}", says how to get it'
