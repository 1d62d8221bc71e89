"""Texts, pictures and an answer in one list, one order: python examples/rerank_mixed_results.py"""

from __future__ import annotations

from PIL import Image, ImageDraw

import wholepage

sign = Image.new("RGB", (420, 80), "white")
ImageDraw.Draw(sign).text((15, 20), "Running shoes, red, 59.90", fill="black", font_size=30)
photo = Image.new("RGB", (200, 200), "firebrick")  # says nothing to a ranker that reads

documents = [
    {"id": "soup", "text": "A recipe for red lentil soup"},
    {"id": "guide", "text": "How to choose running shoes for long runs"},
    {"id": "sign", "image": sign},  # its words are read (OCR)
    {"id": "photo", "image": photo},
    {
        "id": "poster",
        "image": sign.rotate(180),
        "text": "A poster about sun protection",
    },  # words given are not read again
    {"id": "answer", "text": "Light red running shoes suit short runs.", "modality": "answer"},
]

found = wholepage.rerank("red running shoes", documents)
for place, one in enumerate(found, start=1):
    score = "no opinion" if one["score"] is None else f"{one['score']:+.3f}"
    print(f"{place}. {one['id']:<7} {score}")
print(f"ranked by {found.ranker}")
print(f"without opinion: {[documents[i]['id'] for i in found.without_opinion]}")
