# Copyright 2026 The edge_vla authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""
The words of what goes beyond one named object: relations, several steps, waiting and landing.

Data only, as `wording`. Of a linker ``{a}`` is done before ``{b}``, whichever is said first;
``{ga}`` is the gerund of ``{a}``. The second half of each pair of lists is never trained on.
"""

# --- objects named in part -------------------------------------------------------------------

SIZES = ('big', 'small', 'large', 'little', 'tall', 'huge', 'tiny', 'shiny', 'beautiful', 'giant',
         'short', 'old', 'painted', 'wide')
SHAPE_ONLY = ('the {s}', 'the {s}', 'the {s}', 'the {s}', 'a {s}', 'that {s}', 'this {s}', '{s}',
              'the {z} {s}', 'any {s}', 'some {s}', 'our {s}', 'the {s} there', 'one of the {s}s')
COLOUR_ONLY = ('the {c} {n}', 'the {c} {n}', 'the {c} {n}', 'that {c} {n}', 'the {z} {c} {n}',
               'something {c}', 'anything {c}', 'the {n} that is {c}', 'the {c}', 'the {n} in {c}',
               'the {n} painted {c}', '{c} {n}', 'a {c} {n}', 'the {c} coloured {n}',
               'what is {c}', "the {n} that's {c}", 'whatever is {c}', 'some {c} {n}',
               'the {n} with {c} colour')
OPEN = ('the {n}', 'the {n}', 'the {n}', 'that {n}', 'whatever is', 'what is', 'a {n}', 'anything',
        'the {z} {n}', 'something')
PLACES = ('over there', 'ahead', 'on the ground', 'up ahead', 'in the field', 'on the grass',
          'in the meadow', 'over here', 'out there')
AFTER_OTHER = (', not {x}', 'and not {x}', ', ignore {x}', 'instead of {x}', 'but not {x}',
               ', and ignore {x}', '. not {x}', ', not to {x}', 'rather than {x}')

# --- relations -------------------------------------------------------------------------------

RELATION_OPENERS = (
    '', '', '', '', '', '', 'that is', 'which is', 'standing', 'located', "that's", 'sitting',
    'which stands', 'placed', 'that stands', 'lying', 'that sits', 'which lies', 'found')
_SIDE = ('{} of', '{} of', 'to the {} of', 'to the {} of', 'on the {} of', 'on the {} side of',
         'at the {} of', 'on the {}-hand side of', 'just {} of', 'to the {} side of',
         'directly {} of', 'immediately to the {} of', 'just to the {} of', 'slightly {} of',
         '{}ward of', 'standing {} from', 'further to the {} than', 'at the {} hand side of',
         'far {} of', 'at the {} side of')
_SIDE_HELD = ('a bit to the {} of', 'over to the {} of', 'somewhere to the {} of',
              'a little {} of', 'off to the {} of', 'more to the {} than', '{}wards of')
ANCHORED = {
    'left': tuple(t.format('left') for t in _SIDE),
    'right': tuple(t.format('right') for t in _SIDE),
    'near': (
        'next to', 'next to', 'near', 'near', 'close to', 'close to', 'beside', 'beside', 'by',
        'nearest to', 'closest to', 'near to', 'adjacent to', 'right next to', 'alongside',
        'very close to', 'close by', 'neighbouring', 'right by', 'at the side of', 'just by',
        'bordering', 'nearby', 'not far from', 'in the vicinity of', 'touching'),
    'behind': (
        'behind', 'behind', 'behind', 'in back of', 'at the back of', 'beyond', 'just behind',
        'on the other side of', 'right behind', 'hidden behind', 'past', 'on the far side of',
        'directly behind', 'to the rear of', 'hiding behind', 'further away than',
        'at the rear of', 'in the back of', 'farther off than', 'covered by'),
    'front': (
        'in front of', 'in front of', 'in front of', 'right in front of', 'just in front of',
        'before', 'on the near side of', 'directly in front of', 'at the front of', 'ahead of',
        'on this side of', 'in the front of', 'just before', 'in the foreground of'),
}
ANCHORED_HELD = {
    'left': tuple(t.format('left') for t in _SIDE_HELD),
    'right': tuple(t.format('right') for t in _SIDE_HELD),
    'near': ('really near', 'quite close to', 'just next to', 'just beside', 'somewhere near',
             'right beside', 'pretty close to'),
    'behind': ('a bit behind', 'somewhere behind', 'on the back side of', 'a little beyond',
               'concealed behind', 'far behind'),
    'front': ('a little in front of', 'somewhere in front of', 'to the front of',
              'a bit ahead of', 'on the front side of', 'straight in front of'),
}
# {t} is a noun without an article
_SIDEMOST = (
    'the {0}most {{t}}', 'the {0}most {{t}}', 'the {0} {{t}}', 'the {{t}} on the {0}',
    'the {{t}} on the {0}', 'the {{t}} to the {0}', 'the {{t}} furthest to the {0}',
    'the {{t}} farthest {0}', 'the most {0} {{t}}', 'the {{t}} on your {0}',
    'the {{t}} to your {0}', 'the {{t}} on the far {0}', 'the {{t}} most to the {0}',
    'the {0}-most {{t}}', 'the {0} hand {{t}}', 'the {{t}} on the {0} side',
    'the outermost {0} {{t}}', 'the {{t}} that is on the {0}', 'the first {{t}} from the {0}',
    'the {{t}} that is furthest {0}', 'the {{t}} which is to the {0}')
_SIDEMOST_HELD = (
    'the {{t}} all the way to the {0}', 'the {{t}} on your {0} hand', 'the {{t}} at the far {0}',
    'the {{t}} that stands on the {0}', 'the far {0} {{t}}', 'the {{t}} located on the {0} side')
SUPERLATIVE = {
    'nearest': (
        'the nearest {t}', 'the closest {t}', 'the nearest {t}', 'the closest {t}',
        'the {t} nearest to you', 'the {t} closest to you', 'the {t} that is closest',
        'the {t} that is nearest', 'the {t} which is closest to you', 'your nearest {t}',
        'the {t} with the smallest distance', 'the {t} that is least far away',
        'whichever {t} is closest', 'the {t} nearest you', 'the {t} that you are closest to',
        'the {t} closest by', 'the nearby {t}', 'the first {t} in front of you',
        'the {t} you can reach fastest', 'the near {t}', 'the {t} near you',
        'the {t} close to you', 'the next closest {t}', 'the {t} closest to the drone',
        'the very nearest {t}'),
    'farthest': (
        'the farthest {t}', 'the furthest {t}', 'the most distant {t}', 'the {t} farthest away',
        'the {t} furthest from you', 'the {t} farthest from you', 'the {t} that is farthest',
        'the {t} that is furthest away', 'the most remote {t}',
        'the {t} with the largest distance', 'the far {t}', 'the distant {t}',
        'the {t} that is far away', 'the {t} in the distance',
        'the {t} far away', 'whichever {t} is farthest', 'the remotest {t}',
        'the {t} that is the longest way off', 'the furthest away {t}', 'the {t} way back there',
        'the {t} furthest from the drone', 'the {t} at the back', 'the least close {t}'),
    'leftmost': tuple(t.format('left') for t in _SIDEMOST),
    'rightmost': tuple(t.format('right') for t in _SIDEMOST),
}
SUPERLATIVE_HELD = {
    'nearest': (
        'the {t} that is nearest to the drone', 'the {t} with the shortest distance to you',
        'the {t} closest to your position', 'whatever {t} is nearest', 'the very closest {t}',
        'the {t} which is nearest to where you are'),
    'farthest': (
        'the {t} that is the most distant', 'the {t} farthest from your position',
        'the {t} furthest off', 'whichever {t} is furthest', 'the very farthest {t}',
        'the {t} which is farthest from where you are'),
    'leftmost': tuple(t.format('left') for t in _SIDEMOST_HELD),
    'rightmost': tuple(t.format('right') for t in _SIDEMOST_HELD),
}
# what stands there is said after the place
THERE = ('{r} {x} there is {t}, {v} it', '{r} {x} is {t}, {v} it', '{r} {x} you see {t}, {v} it',
         'there is {t} {r} {x}, {v} it', 'do you see {x}? {r} it is {t}, {v} that')
THERE_HELD = ('{r} {x} stands {t}, {v} it', 'look {r} {x}, there is {t}: {v} it')

# --- waiting and landing ---------------------------------------------------------------------

WAIT = (
    'wait', 'wait there', 'wait a moment', 'hover', 'hover there', 'hover for a moment',
    'hold position', 'stay there', 'pause', 'pause for a moment', 'stop', 'stop there',
    'stay there for a while', 'hold still', 'wait for a few seconds', 'hover for five seconds',
    'wait a second', 'stay put', 'remain there', 'take a break', 'wait for ten seconds',
    'hold for a bit', 'halt', 'stop for a moment', 'hover in place', 'keep still for a while',
    'stay for a moment', 'hold still for a moment', 'pause for a second', 'wait a bit',
    'hover a moment', 'rest a moment', 'wait a short while', 'stay a few seconds',
    'pause for three seconds', 'hold there for a second', 'wait there for ten seconds')
WAIT_HELD = ('stay for a few seconds', 'wait a little', 'pause there for five seconds',
             'hold still for a second', 'hover a little while')
# after a word it does not know
WHILE = ('for a moment', 'for a second', 'for a few seconds', 'for five seconds', 'for a while',
         'for a bit', 'a moment', 'a while', 'a second', 'in place', 'for a minute')
GROUND = ('on the ground', 'to the ground', 'down on the ground', 'onto the ground',
          'on the grass', 'down to the grass', 'down to the ground', 'onto the grass',
          'yourself down', 'yourself on the ground', 'on the meadow', 'a landing', 'and land')
LAND = (
    'land', 'land', 'land', 'land', 'land', 'land now', 'touch down', 'touch down', 'set down',
    'put yourself on the ground', 'land on the ground', 'go down and land', 'descend and land',
    'land right there', 'land here', 'come down and land', 'sit down on the ground',
    'settle on the ground', 'land the drone', 'make a landing', 'begin landing',
    'perform a landing', 'get down on the ground', 'end the flight', 'bring the drone down',
    'land safely', 'go to the ground', 'return to the ground', 'set yourself down',
    'lower yourself to the ground', 'land where you are', 'go down to the ground', 'land there',
    'put the drone down', 'drop to the ground', 'fly down to the ground', 'start the landing',
    'land immediately', 'finish by landing', 'go and land', 'come down to the ground',
    'land on the grass', 'set the drone down', 'rest on the ground', 'get to the ground',
    'put down on the grass', 'come in to land', 'switch to landing', 'stop flying and land',
    'finish the flight', 'put yourself down', 'reach the ground and stop', 'land gently',
    'make contact with the ground', 'rest on the grass', 'lie down on the grass', 'do a landing',
    'land the vehicle', 'land the copter', 'do a gentle landing', 'park the drone on the grass',
    'stand on the ground', 'get down', 'sink to the ground', 'commence landing',
    'descend until you are on the ground', 'carry out a landing', 'complete a landing',
    'place the drone on the ground', 'leave the air and land')
LAND_HELD = (
    'get back on the ground', 'land the aircraft', 'do a soft landing', 'touch the ground',
    'park on the ground', 'place yourself on the ground', 'initiate the landing',
    'descend to the ground', 'sit on the grass', 'bring yourself down to the ground')
LAND_STATEMENTS = (
    'time to land', 'landing please', 'i want you on the ground', 'your flight is over, land',
    'the flight is over, come down', "let's land", 'we are done, land', 'you can land now',
    'that was all, please land', 'landing', 'landing now', 'back to the ground',
    'down to the ground', 'i want you to be on the ground', 'land, please',
    'no more flying, land', 'down and land',
    'stop, land', 'enough flying for today, land', 'emergency landing', 'to the ground')
LAND_STATEMENTS_HELD = (
    'the show is over, please land', 'it is time for landing', 'on the ground with you',
    'i would like you to be back on the ground', 'you have to land')
LAND_AT = (
    'land next to {o}', 'land near {o}', 'land beside {o}', 'land at {o}', 'land in front of {o}',
    'touch down next to {o}', 'set down near {o}', 'put yourself down next to {o}',
    'land close to {o}', 'go to {o} to land', 'fly to {o} for landing', 'make a landing at {o}',
    'touch down at {o}', 'land by {o}')
LAND_AT_HELD = ('set down beside {o}', 'touch down close to {o}', 'land right next to {o}',
                'perform a landing near {o}')

# --- several steps ---------------------------------------------------------------------------

PRONOUNS = ('it', 'it', 'it', 'it', 'it', 'it', 'that one', 'the same one', 'the same object',
            'that object', 'this one')
FIRST = ('first', 'first,', 'first of all', 'to start', 'start:', 'first of all,', 'to begin,',
         'at first', 'firstly', 'to start with,', 'first thing:')
JOIN = (
    ' and then ', ' and then ', ', then ', ', then ', ', and then ', ' then ', '. then ',
    '. after that ', ', after that ', ', after that, ', ' and after that ', ', and afterwards ',
    ' and afterwards ', '; next ', ', next ', '. next, ', ' and next ', '; then ', '. now ',
    ' and ', ' and ', ', ', '. ', '; ', '. when done, ', ', when you are done, ', '. afterwards, ',
    '. once done, ', ' before you ', '. when that is done, ', ', and when you are there, ',
    '. once there, ', ', later ', ' and later ', ', and next ', '. once that is done, ',
    ' and from there ', ', from there ', '. and then ', ', followed by this: ', '. secondly, ',
    ' and right after that ', '. as soon as you are done, ', ', and ', ', and once done ',
    '. next up: ', ' and once you are there ', ', and in the end ', '. the next step: ',
    '. after doing that, ', ', after which ', ' -> ', ', and as soon as that is done, ',
    '. having done that, ', '. continue: ', ', continue and ',
    '. the next thing: ', '. the last thing: ', ' and when that is finished ', ', thereupon ',
    '; when that is finished, ', ', following which ', ', and following it, ', '. thirdly, ',
    ' and only after that ', ' and subsequently ', ', subsequently ', '. your next task: ',
    '. when you have done this, ', '. when this is over, ', ' and when you are through ',
    ', right after that ', ', and after it ', '; and when finished ', ', whereafter ')
# with words it does not know
JOIN_UNCLEAR = (', {} ', '. {} ', ' {} ', '. {} {}: ', ', {} {} {} ', ', and {} ', '; {}, ',
                '; {} ', '. {} {}, ', ' and, {} {}, ', ' and {} {} ', ', {}, ')
JOIN_HELD = (
    ', following that ', '; when finished, ', ' and, when that is over, ',
    ', and right afterwards ', '. your next step: ', ' and once that is over ',
    '. when you have finished that, ', ', and only then ', '. the second thing: ',
    ', and after doing so ', '. following this, ', '. thereafter ', ', whereupon ')
LAST = ('finally', 'finally,', 'at last', 'at the end', 'in the end', 'lastly', 'last,',
        'to finish,', 'to end,', 'as the last step', 'last of all')
PAIRS = (
    'first {a}, then {b}', 'first {a} and then {b}', 'after {ga}, {b}', 'after {ga} {b}',
    'once you are done {ga}, {b}', 'when you are done {ga}, {b}', '{a} followed by {gb}',
    'start by {ga}, then {b}', 'as soon as you are done {ga}, {b}', 'do two things: {a} and {b}',
    'step one: {a}. step two: {b}', '1. {a} 2. {b}', '1) {a} 2) {b}', '{a}, but then {b}',
    'begin by {ga} and finish by {gb}', '{a}. when you have done that, {b}',
    'once you have finished {ga}, {b}', 'two steps: {a}, {b}', 'start with {ga} and then {b}',
    'i want you to {a} and after that to {b}', 'there are two tasks: {a} and then {b}',
    'when finished with {ga}, {b}', 'your mission: {a}, then {b}', 'continue with {gb} after {ga}',
    'as a first step {a}, as a second step {b}', 'you should {a} and you should then {b}',
    'once {ga} is complete, {b}', 'after {ga} is done {b}', 'with {ga} finished, {b}',
    'when {ga} is complete, {b}', 'after you {a}, {b}', 'once you {a}, {b}',
    'as soon as you {a}, {b}', 'when {ga} is over {b}', 'one task: {a}, another task: {b}',
    'your first job: {a}. your second job: {b}', 'the plan is {ga} and {gb} after it',
    'begin with {ga} and end with {gb}', 'first comes {ga}, second comes {gb}')
PAIRS_REVERSED = (  # what is done last is said first
    'before {gb}, {a}', 'before {gb} {a}', '{b} after {ga}', '{b}, but first {a}',
    '{b} once you are done {ga}', 'before you {b}, {a}', 'before you {b} you should {a}',
    '{b}, but before that {a}', '{b} when you are done {ga}', '{b}, after {ga}',
    '{b} as soon as you have finished {ga}', 'do not {b} before {ga}', '{b} only after {ga}',
    'you can {b}, but {a} first', '{b}. but first, {a}', 'prior to {gb}, {a}',
    '{b}, but {a} before that', '{b} as soon as {ga} is over', '{b} once {ga} is finished',
    '{b} when you have completed {ga}', '{b} after you {a}', '{b}. before that {a}',
    '{b}. before that, {a}', '{b}, though only once you are done {ga}', '{b} if {ga} is complete',
    'before you begin {gb}, {a}', 'before starting {gb}, {a}', 'before you go and {b}, {a}',
    'you may {b} only after {ga}', 'you should {b}, but only when {ga} is over')
PAIRS_HELD = (
    'two tasks: first {a}, second {b}', 'when you have finished {ga}, go on and {b}',
    'as soon as {ga} is done, {b}', 'begin with {ga}, then go on with {gb}',
    'the plan: {a}, and then {b}', 'your first task is to {a}, your second is to {b}',
    'start by {ga} and end by {gb}', '{a}. that done, {b}')
PAIRS_REVERSED_HELD = (
    'before you start {gb}, {a}', '{b}, but only after {ga}', '{b}. but before that, {a}',
    '{b} when {ga} is done', 'you should {b} after {ga}')
LISTED = ('{k}. ', '{k}) ', 'step {k}: ', 'step {w}: ', '({k}) ', '{w}: ', '{k}: ', 'number {w}: ')
COUNTED = ('one', 'two', 'three', 'four')
