"""What to know of a collection before using it: whose it is, whom to cite, whether this program may fetch it.

The licence and source are said by the collection's own class; here is what stands beside them. A checksum is that of
the file that was at hand, taken from the commit that its address names.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from wholepage.collections.catalogue import class_of
from wholepage.collections.fetching import RemoteFile


class Terms(StrEnum):
    """Who may fetch a collection: anybody, whoever has accepted its terms, or nobody by program."""

    OPEN = "open"
    ACCEPT = "accept"
    ASK = "ask"
    NONE = "none"


MEANING: Mapping[Terms, str] = MappingProxyType(
    {
        Terms.OPEN: "its licence lets anybody fetch it",
        Terms.ACCEPT: "for non-commercial or research use, or of unclear licence: read the terms and accept them first",
        Terms.ASK: "its owners want to be asked or signed for: fetch it from them by hand",
        Terms.NONE: "there is nothing to fetch",
    }
)


class Facts(msgspec.Struct, frozen=True):
    """A collection in short.

    Attributes:
        licence, source: as its class says them.  cite: whom to cite.  homepage: where it is given out.
        files: those that can be fetched with a checksum; for the others, ``by_hand`` says how.
    """

    name: str
    title: str
    licence: str
    source: str
    cite: str
    homepage: str
    terms: Terms
    by_hand: str = ""
    files: tuple[RemoteFile, ...] = ()


class _Said(msgspec.Struct, frozen=True):
    title: str
    terms: Terms
    cite: str
    homepage: str
    by_hand: str = ""
    files: tuple[RemoteFile, ...] = ()
    licence: str = ""  # where the class cannot say it of every choice at once


_LIGHTGBM = (
    "https://raw.githubusercontent.com/microsoft/LightGBM/bae0b7ba953341a32b2a9c5c5c437a1b976f576f/examples/lambdarank/"
)
_QILIN = "https://raw.githubusercontent.com/RED-Search/Qilin/292603eef1fa8ebf7308a0e812a6ac76f6d5d325/datasets/"
_HUB = "https://huggingface.co/datasets/"
_DOWNLOAD = "hf download --repo-type dataset {} --local-dir FOLDER"
_PREPARED = "what is read are pages made of the homepage's files, pages/{0}_pages.jsonl.gz: wholepage.collections.{0}"

_STYLES = "Apache-2.0 (blob), CC BY 4.0 (fxemoji, twemoji), Apache-2.0 / OFL (noto), CC BY-SA 4.0 (openmoji)"

_SAID: Mapping[str, _Said] = MappingProxyType(
    {
        "baidu_ultr": _Said(
            "Search sessions with clicks, and pages graded by experts",
            Terms.ASK,
            "Zou et al.: A Large Scale Search Dataset for Unbiased Learning to Rank. NeurIPS 2022, arXiv 2207.03051",
            "https://github.com/ChuXiaokai/baidu_ultr_dataset",
            "follow the addresses in its README",
        ),
        "beir": _Said(
            "Texts for queries: BEIR's data sets as they are given out",
            Terms.ACCEPT,
            "Thakur et al.: BEIR. NeurIPS 2021, arXiv 2104.08663; and the papers of the data set read",
            "https://github.com/beir-cellar/beir",
            "unpack <data set>.zip of the address in its README, or read it as ir_datasets",
        ),
        "captioned": _Said(
            "Photos and people's captions: COCO and Flickr30k",
            Terms.ACCEPT,
            "Lin et al.: Microsoft COCO. ECCV 2014; Young et al.: From image descriptions to visual denotations. 2014",
            "https://cocodataset.org",
            "photos and captions from the homepage, or Flickr30k after its form: wholepage.collections.captions_files",
        ),
        "crossrank": _Said(
            "Two queues of a web search engine, graded together",
            Terms.ACCEPT,
            "SMAR: whole-page reranking from single-modal supervision. ACL 2026 industry track, arXiv 2510.16803",
            "https://arxiv.org/abs/2510.16803",
            "follow the address that the paper names",
        ),
        "emoji": _Said(
            "Small drawings of the same things in five styles, and words for them",
            Terms.ACCEPT,
            "the projects named as source",
            "https://github.com/svgmoji/svgmoji",
            "what is read are its drawings as PNG in emoji.zip, and emoji/emoji.jsonl.gz: wholepage.collections.emoji",
            licence=f"drawings: {_STYLES}; words: Unicode licence (CLDR), MIT (emojilib, gemoji)",
        ),
        "fashion": _Said(
            "Products: photos, attributes and names", Terms.ACCEPT, "the repositories named as source",
            "https://github.com/animmala3942/FashionProductRecommendationSystem",
            _PREPARED.format("fashion"),
        ),
        "financebench": _Said(
            "Questions about annual reports: passages, sheets, and answers of language models",
            Terms.ACCEPT,
            "Islam et al.: FinanceBench: A New Benchmark for Financial Question Answering. 2023, arXiv 2311.11944",
            "https://github.com/patronus-ai/financebench",
            _PREPARED.format("financebench"),
        ),
        "grocery": _Said(
            "Groceries: photos, drawings and descriptions",
            Terms.OPEN,
            "Klasson, Zhang, Kjellström: A Hierarchical Grocery Store Image Dataset with Visual and Semantic Labels. "
            "WACV 2019",
            "https://github.com/marcusklasson/GroceryStoreDataset",
            _PREPARED.format("grocery"),
        ),
        "image_preferences": _Said(
            "Pages of picture search, judged by result, row and page",
            Terms.ACCEPT,
            "Xie et al.: Preference-based Evaluation Metrics for Web Image Search. SIGIR 2020",
            "https://github.com/THUxiexiaohui/An-image-dataset-with-preference-judgments",
            "put the homepage's files into image_search_preferences/",
        ),
        "inquire": _Said(
            "Photos of nature for experts' questions: INQUIRE-Rerank",
            Terms.ACCEPT,
            "Vendrow et al.: INQUIRE: A Natural World Text-to-Image Retrieval Benchmark. 2024, arXiv 2411.02537",
            _HUB + "evendrow/INQUIRE-Rerank",
            _DOWNLOAD.format("evendrow/INQUIRE-Rerank"),
        ),
        "ir_datasets": _Said(
            "BEIR, TREC Deep Learning and other sets of texts, through the library ir_datasets",
            Terms.ACCEPT,
            "MacAvaney et al.: Simplified Data Wrangling with ir_datasets. 2021, arXiv 2103.02280; and the set's own",
            "https://ir-datasets.com",
            'pass the option download="allow": the library fetches, and checks with checksums of its own',
        ),
        "jsonl": _Said("Your own pages", Terms.NONE, "whoever made them", ""),
        "libsvm": _Said(
            "Learning-to-rank sets of numbers: LETOR, MSLR, Yahoo, Istella, LightGBM's example",
            Terms.OPEN,
            "LightGBM's example: Ke et al.: LightGBM. NeurIPS 2017; LETOR: Qin and Liu, 2013, arXiv 1306.2597",
            "https://github.com/microsoft/LightGBM/tree/master/examples/lambdarank",
            "what is fetched is LightGBM's example (MIT); the others are on their owners' pages, under their terms",
            (
                RemoteFile(
                    "rank.train", _LIGHTGBM + "rank.train",
                    "a0c7201c89120879c14a5059e091f441cbf2a29b8aaef363885ccb1a530448df", 2479271,
                ),
                RemoteFile(
                    "rank.train.query", _LIGHTGBM + "rank.train.query",
                    "40cb5fef637229311cd30fab13cb7fb633b023e86a87ff04ec55db420143d6af", 580,
                ),
                RemoteFile(
                    "rank.test", _LIGHTGBM + "rank.test",
                    "3b1219ce117a0a36d2f76c02de7e7831c1d79af0d40f5195c03178bbe26c824b", 649930,
                ),
                RemoteFile(
                    "rank.test.query", _LIGHTGBM + "rank.test.query",
                    "36dca82ba3bf99201bac3987b00a8fbf6fe5f563e9fa6d0da90e783710a32df4", 146,
                ),
            ),
        ),
        "mixbench": _Said(
            "Queries over texts, pictures, and pictures with texts",
            Terms.ACCEPT,
            "Li et al.: Closing the Modality Gap for Mixed Modality Search. 2025, arXiv 2507.19054",
            _HUB + "mixed-modality-search/MixBench25",
            _DOWNLOAD.format("mixed-modality-search/MixBench25"),
        ),
        "mmdocir": _Said(
            "Passages, tables, figures and sheets of long documents",
            Terms.ACCEPT,
            "Dong et al.: MMDocIR: Benchmarking Multi-Modal Retrieval for Long Documents. 2025, arXiv 2501.08828",
            "https://github.com/MMDocRAG/MMDocIR",
            _PREPARED.format("mmdocir"),
        ),
        "mmdocir_train": _Said(
            "Sheets of documents for questions, to train on",
            Terms.ACCEPT,
            "Dong et al.: MMDocIR: Benchmarking Multi-Modal Retrieval for Long Documents. 2025, arXiv 2501.08828",
            _HUB + "MMDocIR/MMDocIR_Train_Dataset",
            _DOWNLOAD.format("MMDocIR/MMDocIR_Train_Dataset"),
        ),
        "opencqa": _Said(
            "Charts, paragraphs and answers for open questions",
            Terms.ACCEPT,
            "Kantharaj et al.: OpenCQA: Open-ended Question Answering with Charts. EMNLP 2022, arXiv 2210.06628",
            "https://github.com/vis-nlp/OpenCQA",
            _PREPARED.format("opencqa"),
        ),
        "qilin": _Said(
            "Result pages of an app: searches, recommendations, questions, and what people did",
            Terms.OPEN,
            "Chen et al.: Qilin: A Multimodal Information Retrieval Dataset with APP-level User Sessions. 2025, "
            "arXiv 2503.00501",
            _HUB + "THUIR/Qilin",
            "what is fetched are the qrels; the tables: " + _DOWNLOAD.format("THUIR/Qilin"),
            (
                RemoteFile(
                    "search.test.qrels.csv", _QILIN + "search.test.qrels.csv",
                    "2f59c0373c516bf3cf4dda9791f054f679bdd17e6914e6be05c1125c97a593f5", 345215,
                ),
                RemoteFile(
                    "recommendation.test.qrels.csv", _QILIN + "recommendation.test.qrels.csv",
                    "3ffc5bc91420992686836ec5b51cfe725e79652140ef4168b0bcf81433797525", 568618,
                ),
                RemoteFile(
                    "dqa.qrels.csv", _QILIN + "dqa.qrels.csv",
                    "3886934014ce7d22d3adcbebf6b6f11cb925f52a527b52d816bdfd6ba4f23142", 246146,
                ),
            ),
        ),
        "rank_lists": _Said(
            "Lists of texts that a language model put in order",
            Terms.ACCEPT,
            "Pradeep, Sharifymoghaddam, Lin: RankZephyr. arXiv 2312.02724; Bajaj et al.: MS MARCO. arXiv 1611.09268",
            _HUB + "castorini/rank_zephyr_training_data",
            _DOWNLOAD.format("castorini/rank_zephyr_training_data"),
        ),
        "synthetic": _Said("A made-up world of things, drawn and told", Terms.NONE, "this package", ""),
        "trec_dl": _Said(
            "Passages of MS MARCO for real questions, judged at NIST",
            Terms.ACCEPT,
            "Craswell et al.: Overview of the TREC 2019 Deep Learning Track. arXiv 2003.07820; 2020: arXiv 2102.07662",
            "https://github.com/castorini/rank_llm",
            "queries, lists and saved runs from the homepage's history, judgments from trec.nist.gov, laid out as "
            "wholepage.collections.trec_dl says; or read it as ir_datasets",
        ),
        "vidore": _Said(
            "Questions and the sheets of documents that answer them",
            Terms.ACCEPT,
            "Faysse et al.: ColPali. arXiv 2407.01449; ViDoRe Benchmark V2: Raising the Bar for Visual Retrieval, "
            "arXiv 2505.17166",
            _HUB.removesuffix("datasets/") + "vidore",
            _DOWNLOAD.format("vidore/<data set>"),
        ),
    }
)  # fmt: skip


def facts_of(name: str) -> Facts:
    """What to know of a collection.

    Raises:
        InputError: the name is unknown.
    """
    opened, said = class_of(name), _SAID[name]
    licence, source = said.licence or str(getattr(opened, "licence", "")), str(getattr(opened, "source", ""))
    return Facts(name, said.title, licence, source, said.cite, said.homepage, said.terms, said.by_hand, said.files)
