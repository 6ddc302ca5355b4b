"""The kinds of data that a run may have, by the name that ``dataset.kind`` gives them."""

from nonrobust_guidance.data.celeba import CelebAData
from nonrobust_guidance.data.celebahq import CelebAHQData
from nonrobust_guidance.data.fashion_mnist import FashionMNISTData
from nonrobust_guidance.data.folder import FolderData
from nonrobust_guidance.data.sportballs import SportBallsData

DATASETS: dict[str, type] = {
    "sportballs": SportBallsData,
    "celeba": CelebAData,
    "celebahq": CelebAHQData,
    "fashion_mnist": FashionMNISTData,
    "folder": FolderData,
}
