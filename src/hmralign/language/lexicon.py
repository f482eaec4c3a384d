"""Words that the reader of typed sentences knows: parts of the body, what is said of them, and what carries nothing.

Phrases are rewritten first (`PHRASES`, in this order), so that "closer to the viewer than" and "nearer to the camera
than" become one word, `@nearer`. Then every word is a part, a side, a relation, or nothing.
"""

from __future__ import annotations

import re

_POINTS = (
    r"(?:points?|pointing|reach(?:es|ing)?|(?:out)?stretch(?:ed|es|ing)|extend(?:ed|s|ing)|directed|sticks?|swings?"
    r"|swinging)"
)
_OUT = r"(?: straight| fully| right| out)*"

PHRASES: tuple[tuple[str, str], ...] = (
    (r"\b(?:his|her|their|its|my|your|one s|the person s)\b", "the"),
    (r"\b(?:viewer|lens|photographer|observer|spectator)\b", "camera"),
    (r"\b(?:the |a )?camera\b", "the camera"),
    (r"\btouch(?:es|ing)? (the (?:left |right )?\w+) with the (left|right) (hand|elbow|foot)\b", r"the \2 \3 @on \1"),
    (r"\b(hands?|palms?|fists?) (?:holds?|holding|grips?|clasps?|grabs?|grasps?)\b", r"\1 @on"),
    (r"\bback of the (neck|head|hand)\b", r"\1"),
    (
        r"\bwith the (left|right) (hand|elbow|foot) (?:he|she|they) (?:touch(?:es)?|holds?|grabs?|grasps?)\b",
        r"the \1 \2 @on",
    ),
    (r"\bon top of\b", "@on"),
    (r"\bfac(?:es|ing) away\b(?! from)", "@from_camera"),
    (r"\bcross(?:ed)? legged\b", ", legs @crossed, @sit"),
    (r"\blooking(?! at the camera)\b", ", @look"),
    (r"\bt pose\b", "both arms @sideways,"),
    (r"\bfloor\b", "ground"),
    (r"\bleft and (?:the )?right\b|\bright and (?:the )?left\b", "both"),
    (r"\bhands and knees\b|\ball fours\b|\bcrawl(?:s|ing)?\b", "@all_fours"),
    (r"\bupside down\b|\bhead over heels\b|\bthe wrong way up\b|\bheadstand\b|\bhandstand\b", "@upside_down"),
    (r"\b(?:lying|lies|lie) (?:down )?(?:flat )?on the back\b", "@lying @face_up"),
    (r"\b(?:lying|lies|lie) (?:down )?(?:flat )?on the (?:belly|stomach|front|face|tummy)\b", "@lying @face_down"),
    (r"\bface down(?:wards?)?\b|\bprone\b", "@lying @face_down"),
    (r"\bface up(?:wards?)?\b|\bsupine\b", "@lying @face_up"),
    (r"\bright angles?\b", "@right_angle"),
    (r"\bnot bent at all\b|\bunbent\b|\bfully extended\b", "@straight"),
    (r"\b(?:near|nearer|nearest|close|closer|closest)(?: to)? the camera(?: than)?\b", "@nearer"),
    (r"\b(?:far|farther|further|farthest|furthest)(?: away)? from the camera(?: than)?\b", "@farther"),
    (r"\b(?:farther|further) forwards? than\b", "@front"),
    (r"\b(?:faces|facing|turned|points?|pointing)? ?away from the camera\b", "@from_camera"),
    (r"\bseen from (?:behind|the back|the rear)\b|\bfrom behind\b", "@from_camera"),
    (r"\bseen from the front\b|\bfrontal(?:ly)?\b|\bfrom the front\b", "@to_camera"),
    (r"\bseen from the (left|right)(?: side)?\b", r"the \1 side @to_camera"),
    (
        r"\b(?:faces|facing|looking at|looks at|(?:turned |pointing |points )?(?:to|towards?|at)) the camera\b",
        "@to_camera",
    ),
    (r"\boff (?:of )?the ground\b|\bin the air\b", "@off_ground"),
    (r"\bparallel to the ground\b|\bhorizontal(?:ly)?\b", "@level"),
    (r"\b(above|below|over) (?:the )?(shoulder|hip|head|waist|chest) (?:height|level)\b", r"\1 \2"),
    (
        r"\b(?:at|to|up to|as high as) (?:the )?(?:level|height) of\b|\blevel with\b|\bas high as\b|\bup to\b",
        "@level_with",
    ),
    (r"\b(?:the )?level of\b", "@level_with"),
    (
        r"\b(?:(?:at|to|up to) )?(?:the )?(shoulder|hip|head|waist|chest) (?:height|level)\b",
        r"@level_with \1",
    ),
    (
        r"\b(?:close to|next to|touch|touching) each other\b|\bside by side\b|\bclose together\b",
        "@together",
    ),
    (r"\b(?:clasped|joined|folded together|pressed together|brought together|meet|meets)\b", "@together"),
    (r"\bin front of\b", "@front"),
    (r"\bcross(?:es|ing)? the (?:body|chest|torso)\b", "@across"),
    (r"\breach(?:es|ing)? (?:over|across)(?= to the (?:left|right))", "@across"),
    (r"\bacross(?: the (?:body|chest|torso|belly|midline))?\b", "@across"),
    (r"\bof the body\b", ""),
    (r"\bclose to the side\b", "@on side"),
    (r"\b(above|below|over) (?:the )?(shoulder|hip|head|waist|chest) (?:height|level)\b", r"\1 \2"),
    (r"\bstand(?:s|ing) on (?:the legs|the feet)\b|\bon the feet\b|\bupright on both feet\b", "@stand"),
    (r"\b(?:bend(?:s|ing)?|bent|stoop(?:s|ed|ing)?) (?:over|down)(?: deeply)?\b|\bstoop(?:s|ed|ing)?\b", "@bent_over"),
    (r"\b(?:a lot|very much)\b", "@sharply"),
    (r"\ba (?:little|bit)\b", "@slightly"),
    (rf"\b{_POINTS}{_OUT} (?:forwards?|ahead|to the front|in front)\b", "@forward"),
    (rf"\b{_POINTS}{_OUT} (?:back|backwards?|to the back|behind)(?! the)\b", "@backward"),
    (rf"\b{_POINTS}{_OUT} (?:sideways|to (?:the|both|either) sides?(?! the| of))\b", "@sideways"),
    (rf"\b{_POINTS}{_OUT} (?:up|upwards?)\b", "@up"),
    (rf"\b(?:{_POINTS}|hang(?:s|ing)?){_OUT} (?:down|downwards?)\b", "@hang"),
    (r"\bstraight (?:up|upwards)\b", "@up"),
    (r"\bstraight (?:down|downwards)\b", "@hang"),
    (r"\bin front\b|\bahead\b", "@ahead"),
    (r"\bforwards?\b|\bto the front\b", "@forward"),
    (r"\bbackwards?\b|\b(?<=drawn )back\b|\b(?<=pulled )back\b|\b(?<=leans )back\b|\b(?<=leaning )back\b", "@backward"),
    (
        r"\b(?<=tilted )back\b|\b(?<=put )back\b|\b(?<=swings )back\b|\b(?<=thrown )back\b|\b(?<=held )back\b",
        "@backward",
    ),
    (r"\bsideways\b|\b(?:out )?to (?:the|both|either) sides?(?! of)\b", "@sideways"),
    (r"\blooks?\b|\blooking\b|\bgaz(?:es|ing)\b", "@look"),
    (r"\b(?:higher|high up) than\b|\boverhead\b|\bhigher\b", "@above"),
    (r"\blower than\b", "@below"),
    (r"\b(?:close|next|near) to\b", "@on"),
    (r"\bupper arm(s?)\b", r"upperarm\1"),
    (r"\blower arm(s?)\b", r"forearm\1"),
    (r"\blower leg(s?)\b", r"shin\1"),
    (r"\bupper leg(s?)\b", r"thigh\1"),
    (r"\bupper body\b", "torso"),
    (r"\blower back\b", "back"),
)
"""Patterns and what they are rewritten to; words that begin with @ are relations."""


def _words(table: dict[str, str]) -> dict[str, str]:
    return {word: name for name, words in table.items() for word in words.split()}


SINGLE_PARTS = _words({
    "person": "person he she they man woman someone somebody figure child boy girl athlete dancer pose position",
    "head": "head face chin ear nose forehead cheek eyes eye",
    "neck": "neck throat nape",
    "torso": "torso trunk body",
    "chest": "chest breast",
    "belly": "belly stomach abdomen tummy",
    "waist": "waist",
    "back": "back",
    "ground": "ground",
    "camera": "camera",
})  # fmt: skip
"""Word -> part that there is once."""

PAIRED_PARTS = _words({
    "shoulder": "shoulder", "upper_arm": "upperarm", "elbow": "elbow", "forearm": "forearm", "arm": "arm",
    "hand": "hand wrist palm fist fingers finger", "hip": "hip", "leg": "leg", "thigh": "thigh", "knee": "knee",
    "shin": "shin calf", "foot": "foot ankle heel toe sole", "side": "side",
})  # fmt: skip
"""Word -> part that there is on both sides, one of them."""

BOTH_PARTS = _words({
    "shoulder": "shoulders", "upper_arm": "upperarms", "elbow": "elbows", "forearm": "forearms", "arm": "arms",
    "hand": "hands wrists palms fists", "hip": "hips", "leg": "legs", "thigh": "thighs", "knee": "knees",
    "shin": "shins calves", "foot": "feet ankles heels toes soles", "side": "sides",
})  # fmt: skip
"""Word -> part, both of them."""

RELATIONS = _words({
    "stand": "stand stands standing stance stood",
    "sit": "sit sits sitting seated",
    "crouch": "crouch crouches crouching crouched squat squats squatting",
    "kneel": "kneel kneels kneeling",
    "lying": "lie lies lying",
    "straight": "straight stretched extended outstretched",
    "bent": "bent bends bend bending flexed flexes",
    "slightly": "slightly gently lightly",
    "sharply": "sharply tightly strongly fully deeply acutely completely",
    "raised": "raised raises raise lifted lifts lift",
    "lowered": "lowered lowers low lower down",
    "hang": "hang hangs hanging downwards downward",
    "up": "up upward upwards",
    "above": "above over",
    "below": "below under underneath beneath",
    "front": "before",
    "behind": "behind",
    "backward": "backwards backward",
    "on": "on at against by touch touches touching along near beside",
    "crossed": "crossed cross crosses crossing folded",
    "together": "together",
    "apart": "apart spread wide opened",
    "level": "level",
    "upright": "upright vertical erect",
    "lean": "lean leans leaning inclined inclines tilted tilts tips tipped cocked",
    "turned": "turned turns turning rotated rotates twisted twists faces facing",
    "bowed": "bowed nodding",
})  # fmt: skip
"""Word -> relation."""

FILLERS = frozenset(
    "the a an holds holding is are was be being been it its of and to in as than that this these those each his "
    "her their one who has have having hold held keep keeps kept put puts set sets placed places rest rests "
    "resting stay stays come comes go goes make makes form forms about approximately roughly almost flat planted "
    "propped pressed pulled drawn pull hidden from off for out close also still very quite rather there or then "
    "so let only alone half sticks stick way long towards toward reaches reach point points swing swings brought "
    "own same true part far deep directed doing does do ".split()
)
"""Words that change nothing."""

NEGATIONS = frozenset("not no never isn aren isnt arent doesn don neither without cannot".split())

SIDES = frozenset(("left", "right"))
OTHER_SIDE = frozenset(("other", "opposite"))

SENTENCE_ENDS = re.compile(r"[.;!?\n]+")
COMMAS = re.compile(r"[:,()]+")
CLAUSE_ENDS = re.compile(r",|\bwhile\b|\bwhereas\b|\bbut\b|\bwith\b|\bthen\b|\band\b")
"""What stands between clauses of one sentence."""
