"""The texts that both sides embed: fixed ones by hand, and random ones from a fixed seed."""

import random

FIXED = [
    "", " ", "a", "hello world", "The cat sits outside", "A man is playing guitar",
    "Pay the March rent to Anna Berg, 1,250.00 EUR", "send money: rent for March",
    "Book a flight from Oslo to Lisbon on 3 May and a hotel for two nights",
    "search flights: from OSL, to LIS, date 2026-05-03",
    "delete file: path /srv/backups/2026-01-01.tar.gz",
    "git push --force origin main", "SELECT * FROM users WHERE id = 1; DROP TABLE users; --",
    "fn main() { println!(\"{}\", 1 + 1); }", "https://example.com/a/b?c=d&e=%20f#g",
    "{\"to\":\"bob@example.com\",\"subject\":\"Re: Q3\",\"body\":\"see attachment\"}",
    "ALL CAPS AND Mixed CaSe", "naïve café résumé Ångström Œuvre ß ẞ İstanbul ı",
    "e\u0301 o\u0308\u0323 a\u0323\u0308 combining marks", "\u0301\u0302\u0303",
    "日本語の文章です。メールを送ってください。", "请把三月的房租转给房东。", "회의 일정을 내일로 옮겨 주세요.",
    "Пожалуйста, забронируйте билет в Москву.", "احجز رحلة إلى القاهرة", "הזמן לי טיסה לתל אביב",
    "กรุณาส่งอีเมลถึงทีมงาน", "कृपया मुझे कल की बैठक की याद दिलाएं", "Μετέφερε 100 ευρώ στην Άννα",
    "emoji 🎉🔥👩‍👩‍👧‍👦🏳️‍🌈 in the text", "🎉", "👍🏽" * 20, "math ∑∫√ ≠ ≤ α β γ ℝ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "tabs\tand\nnew\r\nlines\x0bvt\x0cff", "nul\x00 bell\x07 esc\x1b[31m", "bom\ufeff zero\u200bwidth\u200d\u2060",
    "bidi \u202eevil\u202c \u2066x\u2069", "\ufffd replacement \ufffd", "nbsp\u00a0and\u2003em\u3000ideographic",
    "“curly” ‘quotes’ – dash — em … ellipsis «guillemets»", "a-b_c.d/e\\f|g", "!!!???...,,,;;;:::",
    "$100 £200 €300 ¥400 ₿5 ^ ` ~ + < = >", "x" * 99, "x" * 100, "x" * 101, "x" * 5000,
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "the quick brown fox jumps over the lazy dog. " * 100, "日本" * 400, "word " * 253, "word " * 254,
    "word " * 255, "word " * 400, " " * 10000 + "end", "[CLS] [SEP] [PAD] [UNK] [MASK]", "x[SEP]y", "##ing ##",
    "豈更車賈 compat \U0002f800", "ﬁ ﬂ ligatures ① ② ½ ² ™", "Ǆ ǅ ǆ ΐ ŉ ẖ", "ſ K Å Ω",
    "\U0001d400\U0001d7ff \U000e0041 \U0010ffff \ue000", "1234567890 12,345.67 0xdeadbeef 1e-9",
]


def many(count):
    """Random texts: runs from blocks of Unicode and from words, of any length up to a few hundred."""
    rng = random.Random(20261121)
    blocks = [(0x20, 0x7E), (0, 0x2FF), (0x300, 0x36F), (0x370, 0x5FF), (0x600, 0x109F), (0x1E00, 0x23FF),
              (0x2E80, 0x33FF), (0x3400, 0x9FFF), (0xA000, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x1FFFF),
              (0x20000, 0x2FFFF), (0xE0000, 0x10FFFF)]
    words = " ".join(FIXED[3:30]).split()
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 30)):
            if rng.random() < 0.5:
                parts.append(rng.choice(words))
            else:
                low, high = rng.choice(blocks)
                parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 12))))
        text = rng.choice([" ", "", ", "]).join(parts)
        yield "".join(c for c in text if not 0xD800 <= ord(c) <= 0xDFFF)
