"""The word that goes past the question about the volume of a container."""

from argparse import _ActionsContainer


def volume_argument(parser: _ActionsContainer) -> None:
    """`parser` may be a group of its arguments."""
    parser.add_argument(
        "--without-volume",
        action="store_true",
        help="also in a container whose data directory is not on a volume, so that what is issued goes with it",
    )
