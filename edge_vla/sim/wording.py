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
The words of instructions: what people call colours, shapes and the things to do.

Data only. A verb phrase starts with its verb in the infinitive, so that it can follow "please"
or "i want you to", or become "flying to". Entries under ``HELD_OUT`` are never trained on.
Words for relations and for several steps are in `wording_steps`.
"""

# the first name of each is the word in the plan
COLOURS = {
    'red': ['red', 'crimson', 'scarlet', 'ruby', 'reddish', 'cherry red', 'bright red', 'dark red',
            'blood red', 'vermilion', 'maroon', 'rosy red', 'brick red', 'fire red'],
    'green': ['green', 'emerald', 'lime', 'jade', 'olive', 'greenish', 'bright green',
              'dark green', 'forest green', 'light green', 'mint green', 'lime green'],
    'blue': ['blue', 'navy', 'azure', 'cobalt', 'sapphire', 'bluish', 'navy blue', 'sky blue',
             'dark blue', 'light blue', 'royal blue', 'deep blue', 'bright blue'],
    'yellow': ['yellow', 'golden', 'gold', 'lemon', 'yellowish', 'bright yellow', 'canary yellow',
               'lemon yellow', 'mustard', 'sunny yellow', 'pale yellow'],
    'purple': ['purple', 'violet', 'lilac', 'lavender', 'plum', 'mauve', 'amethyst', 'purplish',
               'dark purple', 'deep purple', 'light purple'],
    'orange': ['orange', 'amber', 'tangerine', 'apricot', 'orangey', 'bright orange', 'carrot',
               'pumpkin', 'dark orange', 'orangish'],
    'white': ['white', 'ivory', 'snowy', 'pale', 'whitish', 'snow white', 'pearl', 'milky',
              'pure white', 'bright white', 'pearly'],
    'black': ['black', 'dark', 'ebony', 'jet black', 'pitch black', 'onyx', 'charcoal', 'inky',
              'coal black', 'blackish', 'midnight black'],
}
SHAPES = {
    'sphere': ['sphere', 'ball', 'globe', 'orb', 'round ball', 'bubble', 'round thing', 'marble',
               'spherical object', 'ball shaped thing', 'round object', 'beach ball', 'spheroid'],
    'box': ['box', 'cube', 'crate', 'block', 'carton', 'package', 'chest', 'cuboid', 'brick',
            'container', 'square block', 'cubic thing', 'boxy object', 'square box', 'case',
            'square thing', 'cardboard box', 'parcel'],
    'pillar': ['pillar', 'column', 'cylinder', 'post', 'pole', 'tower', 'tube', 'pipe', 'mast',
               'cylindrical object', 'round column', 'tall pillar', 'cylindrical thing',
               'upright cylinder', 'pylon', 'stake'],
    'cone': ['cone', 'pyramid', 'spike', 'traffic cone', 'conical object', 'pointy thing',
             'cone shaped thing', 'pointed object', 'funnel', 'tepee', 'pointy object', 'wedge',
             'conical thing', 'triangular thing'],
}
SIZES = (
    'big', 'small', 'large', 'little', 'tall', 'huge', 'tiny', 'shiny', 'nearest', 'closest',
    'distant', 'lonely', 'beautiful', 'giant', 'short', 'old', 'painted', 'nearby', 'wide')
OBJECTS = (
    'the {c} {s}', 'the {c} {s}', 'the {c} {s}', 'the {c} {s}', 'the {z} {c} {s}', 'a {c} {s}',
    'that {c} {s}', '{c} {s}', 'the {s} that is {c}', 'the {s} which is {c}', 'this {c} {s}',
    'the {c} one, the {s}', 'the {s}, the {c} one', 'the {c} coloured {s}', 'the {s} in {c}',
    'the {s} painted {c}', 'the {c} colored {s}', 'the {s} with {c} colour', 'my {c} {s}',
    'the {c} object shaped like a {s}', 'the {s} (the {c} one)', 'the {c}-{s}', 'our {c} {s}',
    'the {s} of {c} colour', 'the {c}, {z} {s}', 'the {z} {s} that is {c}', '{c} colour {s}',
    "the {s} that's {c}", 'the {s} whose color is {c}', 'the only {c} {s}', 'the {s} coloured {c}',
    'the {c} thing that looks like a {s}', 'the {s} colored {c}')
PLACES = (
    'over there', 'ahead', 'in front of you', 'on the ground', 'on the left', 'up ahead',
    'to your right', 'on your left', 'on the right side', 'in the field', 'on the grass',
    'behind you', 'in the distance', 'in the meadow', 'far away', 'over here', 'out there')

GO = (
    'go to', 'fly to', 'fly over to', 'head to', 'head for', 'head towards', 'move to',
    'move over to', 'move towards', 'approach', 'navigate to', 'travel to', 'proceed to',
    'advance to', 'go up to', 'make your way to', 'get to', 'get close to', 'come to', 'go near',
    'reach', 'visit', 'go over to', 'go toward', 'fly towards', 'close in on', 'set course for',
    'set a course to', 'make for', 'fly straight to', 'go directly to', 'hover near',
    'hover next to', 'hover in front of', 'wait at', 'wait next to', 'stop at', 'stop in front of',
    'stay near', 'park at', 'fly up to', 'position yourself at', 'position yourself in front of',
    'get over to', 'rush to', 'hurry to', 'dash to', 'race to', 'return to', 'go back to',
    'aim for', 'inspect', 'check out', 'examine', 'go and see', 'pursue', 'chase',
    'move closer to', 'come closer to', 'get near', 'fly near', 'drive to', 'follow',
    'go straight to', 'fly right up to', 'take yourself to', 'bring me to', 'take me to',
    'guide us to', 'lead me to', 'fly directly at', 'continue to', 'run to', 'target',
    'come over to', 'fly in the direction of', 'relocate to', 'hold at', 'hold position near',
    'station yourself by', 'arrive at', 'touch', 'meet me at', 'walk to', 'step up to',
    'nudge towards', 'send yourself to', 'get yourself to', 'take the drone to',
    'bring yourself to', 'move until you reach', 'fly until you are near', 'pay a visit to',
    'swoop to', 'float to', 'drift to', 'hop over to', 'jump to', 'sail to', 'soar to', 'veer to',
    'hasten to', 'speed to', 'stroll to', 'push on to', 'carry on to', 'venture to', 'settle near',
    'end up at', 'linger near', 'come up to', 'keep going to', 'go towards', 'turn and fly to',
    'shift to', 'come next to', 'get right up to', 'go over and look at', 'go have a look at',
    'fly next to', 'be at', 'get in front of')
GO_STATEMENTS = (
    '{o}', 'to {o}', 'over to {o}', 'your target is {o}', 'your goal is {o}', 'target: {o}',
    'destination: {o}', 'goal: {o}', 'next waypoint: {o}', 'i want you at {o}', 'now {o}',
    'i need you near {o}', 'i want you to be at {o}', '{o}: fly there', 'see {o}? go there',
    'do you see {o}? fly to it', 'there is {o}, go to it', '{o}, go there', 'next stop: {o}',
    'i can see {o}, approach it', '{o} is where i want you to go', '{o} is your target',
    '{o} is the destination', '{o}, that is where you should fly', 'back to {o}', '{o} next',
    'i want to see {o} up close', 'you are needed at {o}', 'you should be next to {o}',
    'can you see {o}? move close to it', '{o}, move to it', 'look at {o} and fly towards it',
    'fly until you reach {o}', 'keep going until you are at {o}', 'straight to {o}', '{o}, go',
    'turn to {o} and go to it', 'face {o} and approach it', 'your destination is {o}',
    'the target is {o}', 'the goal is {o}', 'the next target is {o}', 'off to {o} you go',
    'when you see {o}, go to it', 'you see {o}, head over', '{o} is the place to be', '{o}', '{o}',
    '{o}', '{o}, fly to it', 'here is your target: {o}', '{o} is what i want you to reach',
    'fly on until {o} is right in front of you', 'move until you are close to {o}',
    'go on until you reach {o}', 'keep flying until you are near {o}', 'you want to get to {o}',
    'you will stop at {o}', 'to {o}, please', '{o} is next', 'the next one is {o}', 'now to {o}',
    'i choose {o}', 'choose {o} and go to it', 'take {o}', 'pick {o} and fly to it',
    'your next stop is {o}', '{o} would be a nice place to be', 'it is {o} that you should go to',
    'i would love to see you next to {o}')
GO_TAILS = (
    'and stop', 'and hover', 'and hover there', 'and wait', 'and stop in front of it',
    'and hold position', 'and stay there', 'and stop there', 'then hover', 'then stop',
    'and wait there', 'and hold', 'and hover in front of it', 'and remain there',
    'and wait for me', 'and stay close to it', 'and keep your position', 'then wait')
SEARCH = (
    'search for', 'find', 'look for', 'locate', 'seek', 'seek out', 'hunt for', 'hunt down',
    'track down', 'spot', 'discover', 'scan for', 'scan the area for', 'try to find', 'go find',
    'go and find', 'search the area for', 'look around for', 'see if you can find', 'detect',
    'keep looking for', 'keep searching for', 'explore until you find', 'turn until you see',
    'turn around until you see', 'rotate until you see', 'spin until you spot', 'uncover',
    'look everywhere for', 'go looking for', 'start a search for', 'begin a search for',
    'identify', 'search around for', 'scan the surroundings for', 'find me', 'go search for',
    'go hunt for', 'figure out the location of', 'fly around until you find', 'hunt around for',
    'pinpoint', 'search everywhere until you find', 'look around until you see', 'help me find',
    'survey for', 'look about for', 'ferret out', 'go on a search for', 'check the area for',
    'find out where to see', 'keep your eyes open for', 'keep watch for', 'watch for',
    'take a look for', 'comb the field for', 'scour the area for', 'be on the hunt for',
    'browse for', 'check for', 'try looking for', 'peer around for', 'have a search for',
    'poke around for', 'fish for', 'sniff out', 'root out', 'dig out', 'catch sight of',
    'get sight of', 'go exploring for', 'patrol for', 'set out to find', 'start looking for',
    'wander around until you find', 'rummage for', 'inspect the field for', 'examine the area for',
    'try and find', 'work out where to find', 'attempt to find', 'peek around for',
    'check around for')
SEARCH_STATEMENTS = (
    '{o} is somewhere around here, find it', '{o} is hidden, find it', 'where is {o}? find it',
    '{o} is out of sight, search for it', 'i lost {o}, find it for me', '{o}: find it',
    '{o} is missing, look for it', 'there must be {o} somewhere, locate it', 'find it: {o}',
    'find out where {o} is', 'figure out where {o} is', '{o} is behind you somewhere, find it',
    'i cannot see {o}, look for it', 'where did {o} go? find it', 'search target: {o}',
    'we are looking for {o}', 'we need to find {o}', 'i am looking for {o}, find it',
    '{o} must be found', '{o}, look for it', 'see where {o} is', 'find where {o} is hiding',
    'you can not see {o} yet, search for it', 'somewhere there is {o}, find it', 'where is {o}')
SEARCH_TAILS = (
    'and go to it', 'and fly to it', 'and fly there', 'then approach it', 'and stop there',
    'then fly to it', 'and hover in front of it', 'and go there', 'and move to it',
    'then go to it', 'and head over', 'then head to it', 'and approach it', 'and reach it',
    'and get close to it', 'then hover near it', 'and stay with it', 'and wait there')
ORBIT = (
    'orbit', 'circle', 'fly around', 'go around', 'loop around', 'move around', 'circle around',
    'make a circle around', 'do a circle around', 'do a lap around', 'run a lap around',
    'go round', 'do laps around', 'fly a circle around', 'fly circles around',
    'go in circles around', 'travel around', 'make a loop around', 'fly round', 'encircle',
    'circumnavigate', 'rotate around', 'make an orbit around', 'orbit around',
    'trace a circle around', 'take a lap around', 'round', 'fly laps around',
    'go all the way around', 'fly in a circle around', 'move in a circle around',
    'perform an orbit around', 'do a loop around', 'start orbiting', 'keep circling',
    'spin around', 'do an orbit of', 'make a lap of', 'travel in circles around',
    'fly a loop around', 'curve around', 'complete a circle around', 'execute an orbit around',
    'fly one full circle around', 'race around', 'walk around', 'draw a circle around',
    'drift around', 'make your way around', 'sail around', 'do a round of', 'make rounds around',
    'roam around', 'turn circles around', 'go full circle around', 'patrol around', 'pivot around',
    'run circles around', 'trace around', 'wind around', 'skirt around', 'go once around',
    'fly once around', 'keep flying around', 'keep going around')
ORBIT_STATEMENTS = (
    '{o}: orbit it {d}', '{o}: circle it {d}', 'orbit {d} around {o}', 'go {d} around {o}',
    'fly {d} around {o}', 'circle {d} around {o}', 'around {o} {d}', 'move {d} around {o}',
    '{d} around {o}', 'have a circle around {o} {d}',
    'see {o}? circle it {d}', 'travel {d} around {o}', 'do you see {o}? orbit it {d}',
    'your target is {o}, orbit it {d}', 'orbit {d}, target {o}', '{o}, go around it {d}',
    'i want a circle around {o} {d}', 'give me an orbit of {o} {d}', '{o} should be circled {d}',
    'one lap around {o} {d}', 'keep {o} in view and orbit it {d}', 'face {o} and circle it {d}',
    '{d}, orbit {o}', 'going {d}, circle {o}',
    'an orbit around {o} {d}')
ORBIT_ADJECTIVES = (
    'make a {a} circle around {o}', 'do a {a} lap around {o}', 'fly a {a} orbit around {o}',
    'a {a} circle around {o}', '{a} orbit around {o}', '{a} orbit of {o}', 'do a {a} orbit of {o}',
    'fly a {a} loop around {o}', 'make {a} circles around {o}', 'start a {a} orbit around {o}',
    'do a full {a} circle around {o}', 'perform a {a} loop around {o}', '{a} lap around {o}')
TURNING = {'orbit_left': ('clockwise', 'clockwise', 'clock wise', 'cw'),
           'orbit_right': ('counterclockwise', 'counter clockwise', 'counter-clockwise', 'ccw',
                           'anticlockwise', 'anti-clockwise', 'anti clockwise')}
SIDE = {'orbit_left': 'left', 'orbit_right': 'right'}
# flying with the target on one's right means circling clockwise
KEPT = {'orbit_left': 'right', 'orbit_right': 'left'}
SIDEWAYS = (
    'to the {}', '{}', '{}wards', '{}ward', 'going {}', 'moving {}', 'towards the {}',
    'heading {}', 'to your {}', 'in the {} direction', 'by going {}', 'direction {}',
    'while moving to the {}', '- {}', '({})', 'sliding {}', ', direction: {}', 'flying {}')
TURNWISE = (
    '{}', '{}', 'in a {} direction', 'in {} direction', 'going {}', 'the {} way', 'moving {}',
    'in {} sense', 'in the {} direction', 'turning {}', ', {}', '({})', 'direction {}')
KEEPING = (
    'keeping it on your {}', 'with it on your {}', 'with it on your {} side',
    'so that it stays on your {}', 'keeping it to your {}', 'while it stays on your {} side')

STOP = (
    'stop', 'halt', 'hover', 'hold', 'hold position', 'stay', 'stay there', 'wait', 'freeze',
    'do not land', "don't land",
    'pause', 'stay where you are', "don't move", 'do not move', 'do nothing', 'stand by',
    'stop moving', 'abort', 'cancel', 'emergency stop', 'keep still', 'remain in place',
    'hover in place', 'standby', 'stop right there', 'stop now', 'never mind', 'idle', 'rest',
    'brake', 'remain here', 'hold on', 'quit it', 'enough', "that's enough", 'cease', 'wait here',
    'hang in the air', 'stay put', 'stop flying', 'stay still', 'hold still', 'keep your position',
    'stop it', 'wait for orders', 'hover where you are', 'hold your position', 'stay here',
    'stand still', 'maintain position', 'stop what you are doing', 'wait a moment', 'just hover',
    'take a break', 'float in place', 'stop immediately', 'stop all movement',
    'cancel the mission', 'abort mission', 'hold there', 'stop the drone', 'please wait',
    'zero velocity', 'maintain your altitude', 'stay in place', 'calm down', 'sit still',
    'take it easy', 'relax', 'quit that', 'stop that', 'enough of that', 'give it a rest',
    'drop it', 'leave it', 'easy', 'do not go anywhere', "don't do anything", 'no more moving',
    'keep calm', 'hold tight', 'just a second', 'one moment', 'sit and wait', 'cut that')
NOT_DOING = (
    'do not {v} {o}', "don't {v} {o}", 'stop {g} {o}', 'never {v} {o}', 'no need to {v} {o}',
    'i do not want you to {v} {o}', 'please stop {g} {o}', 'quit {g} {o}', 'you must not {v} {o}',
    'cancel {g} {o}', 'you should not {v} {o}', "you don't need to {v} {o}", 'avoid {g} {o}')
AWAY = (
    'stay away from {o}', 'avoid {o}', 'keep away from {o}', 'keep your distance from {o}',
    'ignore {o}', 'forget {o}', 'forget about {o}', 'not {o}', 'never mind {o}', 'leave {o} alone',
    "don't touch {o}", 'not to {o}', 'skip {o}')
CHAT = (
    'sing a song', 'what time is it', 'tell me a joke', 'how are you', 'hello', 'good morning',
    'what is your name', 'who are you', 'play some music', 'what is the weather like', 'thank you',
    'i love you', 'make me a sandwich', 'nice to meet you', 'what is two plus two', 'good night',
    'how far is the moon', 'who won the game', 'dance for me', 'write a poem', 'read me a story',
    'the weather is nice today', 'i am hungry', 'do you like music', 'call my mother', 'hi there',
    'what are you doing', 'how is your battery', 'open the door', 'close the window', 'yes', 'no',
    'turn on the lights', 'what can you do', 'help', 'ok', 'thanks', 'great job', 'well done',
    'hmm', 'take off', 'go up', 'go down', 'turn left', 'turn right',
    'fly higher', 'fly forward', 'go home', 'return home', 'move backwards', 'climb ten metres',
    'descend slowly', 'rotate left', 'go forward two meters', 'fly to the moon', 'spin',
    'do a flip', 'look up', 'take a picture', 'start recording', 'follow me', 'come here',
    'charge your battery', 'good', 'sort the numbers', 'bake a cake', 'what day is it',
    'tell me something', 'translate this', 'a', 'go', 'fly', 'move', 'search', 'orbit', 'find it',
    'circle', 'left', 'right', 'there', 'faster')
ABOUT = (
    'what colour is {o}', 'how big is {o}', 'i like {o}', 'paint {o} pink', 'is {o} heavy',
    'describe {o}', 'who made {o}', 'what is {o}', 'i bought {o}', 'how much does {o} cost',
    'why is {o} here', 'i think {o} is nice', 'tell me about {o}', 'count {o}', 'do you like {o}',
    'sell {o}', 'is {o} made of wood', 'what is inside {o}', 'i dreamed of {o}')
NOTHING = ('one', 'one', 'object', 'thing', 'item', 'target', 'shape')
# colours the pilot does not know
STRANGE = (
    'pink', 'grey', 'gray', 'brown', 'silver', 'turquoise', 'cyan', 'beige', 'magenta',
    'transparent', 'striped', 'colourful', 'invisible', 'rainbow coloured', 'bronze', 'dotted',
    'checkered', 'hot pink', 'silvery', 'dark grey', 'light brown', 'multicoloured', 'see-through',
    'tan', 'copper', 'salmon', 'khaki')
THINGS = (
    'car', 'house', 'tree', 'dog', 'cat', 'river', 'mountain', 'person', 'bridge', 'door', 'table',
    'chair', 'bicycle', 'truck', 'road', 'lake', 'school', 'church', 'bus', 'train', 'airplane',
    'sun', 'horse', 'bird', 'flower', 'window', 'kitchen', 'airport', 'city', 'park', 'moon',
    'garden', 'boat', 'phone', 'keys', 'book', 'man', 'woman', 'child', 'cow', 'fence', 'roof',
    'wall', 'lamp', 'sofa', 'star', 'earth', 'ship', 'station', 'shop', 'office', 'castle',
    'robot', 'banana', 'shoe')
WORDS = (
    'about above after again air all almost also always and animal answer any apple ask away '
    'baby bad bank because bed been before begin best better bread breakfast bring brother '
    'build but buy cake call can care carry cheese clean clear cloud coffee cold cook cool '
    'count country cry cup cut dad dance day deep dinner dish doctor dollar dream dress drink '
    'drop dry each ear early eat egg eight end engine enjoy evening every eye face fact fall '
    'family farm fast father feel few film fire fish five food foot football forest four free '
    'friend fruit fun funny game girl give glass good guitar hair half hand happy hard hat have '
    'hear heart heavy hello help hero history holiday hope hospital hot hour how hundred ice '
    'idea important inside island job joke jump just keep kind king kiss know language large '
    'last laugh law learn lesson letter life light like list listen live long love luck lunch '
    'machine make many map market may maybe mean meat milk mind minute mirror money month moon '
    'morning most mother mouth movie much music must name need never news night nine noise '
    'nothing now number ocean often one open other our page paper parent party peace pen people '
    'photo piano picture plant play poem power price problem question queen quiet rain read '
    'ready rice rich ring room salt sand say science sea season second sell send seven shirt '
    'shoe short sick sing sister sit six sleep slow smile snow soft some song soon soup speak '
    'sport spring start story street strong study sugar summer sweet swim table talk taste tea '
    'teach team ten test than think third thousand three ticket time today tomorrow tooth '
    'travel true try twelve twenty ugly uncle under use very video voice want warm wash water '
    'way weather week well west wet what when who why wind wine winter wish word work world '
    'write wrong year yes yesterday young zero ').split()

OPENERS = (
    'please', 'hey drone,', 'drone,', 'ok,', 'now', 'okay', 'hey,', 'robot,', 'pilot,', 'alright,',
    'hello,', 'quickly', 'carefully', 'slowly', 'next,', 'well,', 'so', 'um,', 'listen,', 'hi,',
    'good . now', 'first,', 'mission:', 'task:', 'new task:', 'new order:', 'command:',
    'hi drone,', 'great, now', 'attention:', 'yo,', 'dear drone,', 'just', 'then', 'and now',
    'kindly', 'wait, actually', 'no wait,', 'all right, now', 'instruction:', 'quick,',
    'thanks, now', 'uh,', 'let me see,', 'the next thing:', 'good job,', 'perfect,', 'excellent.',
    'ready?', 'drone:', 'go on,', 'come on,', 'copilot,', 'sir,', 'ladies and gentlemen,',
    'once again:', 'one more thing:', 'yes,')
ASKING = (
    'can you', 'could you', 'would you', 'could you please', 'can you please', 'i want you to',
    'will you', "i'd like you to", 'i would like you to', 'we need you to', 'i need you to',
    'you should', 'you must', 'you have to', "let's", 'let us', 'try to', 'your job is to',
    'the mission is to', 'your task is to', 'i command you to', 'it is time to', 'you need to',
    'would you please', 'please go ahead and', 'go', 'i order you to', 'you are to',
    'make sure to', 'you can now', 'are you able to', 'your mission is to', 'your next task is to',
    'be so kind as to', 'the plan is to', 'remember to', 'you may', 'now you', 'would it be ok to',
    'would you be able to', 'i would be happy if you could', 'it would be nice if you could',
    'would you kindly', 'you might want to', 'we want you to', 'why not', 'do you want to',
    'the order is to', 'is it possible to', 'the idea is to', 'be ready to', 'maybe',
    'perhaps you could', 'you will have to', 'you will', 'i wish you would', 'it is your task to',
    'take off and', 'lift off and', 'take off, then', 'wake up and', 'get ready and', 'start and')
ASKING_ING = (
    'would you mind', 'how about', 'start', 'begin', 'try', 'consider', 'i suggest', 'keep',
    'continue', 'what about', 'start by', 'begin by', 'i would appreciate you', 'you should be')
CLOSERS = (
    'please', 'now', 'right now', 'quickly', 'slowly', 'carefully', 'for me', 'thanks', 'ok?',
    'thank you', 'at once', 'immediately', 'as fast as you can', 'with care', 'if you can',
    'when you are ready', 'buddy', 'my friend', 'drone', 'as soon as possible', 'gently', 'asap',
    'would you', 'safely', 'without hitting anything', 'will you', 'if possible', 'and be careful',
    'okay', 'over', 'and do not crash', 'in a smooth way', 'at low speed', 'at full speed', 'fast',
    'mate', 'if you would', 'there', 'straight away', 'without delay', 'or else', 'quick',
    'will ya', "won't you", 'then', 'today', 'if you please', 'alright', 'as usual')
ASIDES = (
    'it is a nice day', 'the battery is full', 'i am watching you', 'be careful', 'stay low',
    "don't hit anything", 'watch out for obstacles', 'do it well', 'the wind is strong',
    'take care', 'i hope you are ready', 'show me what you can do', 'you did great',
    'this is a test', 'hurry up', 'there is no hurry', 'take your time', 'do not crash',
    'everyone is watching', 'keep it smooth')
BEFORE_OTHER = (
    'ignore {x} and', 'forget {x},', 'pass {x} and', 'do not mind {x},', 'leave {x} alone and',
    'not {x},', "don't go to {x},", 'avoid {x} and', 'fly past {x} and', 'skip {x},',
    'never mind {x},', 'instead of {x},', 'stay away from {x} and', 'stop going to {x} and',
    'disregard {x} and', 'you are done with {x},', 'forget about {x} and', 'do not fly to {x},',
    'rather than {x},', 'leave {x} and', 'ignore {x},', 'forget {x}.', 'do not go to {x}.',
    "don't fly to {x}.", 'ignore {x};', '{x} is not the target.', 'not to {x},',
    'never fly to {x},', 'let {x} be and', '{x} is not what i want.', 'ignore {x}.',
    'do not approach {x},', 'keep away from {x} and')
AFTER_OTHER = (
    ', not {x}', 'and not {x}', ', ignore {x}', 'instead of {x}', 'but not {x}', 'rather than {x}',
    ', avoid {x}', 'and ignore {x}', ', forget {x}', 'not to {x}', ', do not go to {x}',
    'without touching {x}', 'and stay away from {x}', ', but avoid {x}', ', i do not mean {x}',
    ', never {x}', ', skip {x}', ', not the one near {x}', "; don't go near {x}", ', not near {x}',
    ', but do not touch {x}', 'and not to {x}', '; {x} is not the target', ', never mind {x}',
    'as opposed to {x}', ', let {x} be', 'without going to {x}', ', do not hit {x}',
    'without crashing into {x}', 'but stay clear of {x}', '. not {x}', '. ignore {x}')
BESIDE_OTHER = (
    'next to {x}', 'near {x}', 'behind {x}', 'beside {x}', 'in front of {x}', 'left of {x}',
    'to the right of {x}', 'close to {x}', 'by {x}', 'past {x}', 'right of {x}', 'beyond {x}',
    'opposite {x}', 'between you and {x}', 'to the left of {x}', 'that is near {x}')
CORRECTIONS = (
    '{x}, no, {o}', '{x}, sorry, {o}', '{x}, no wait, {o}', '{x}, i mean {o}', 'not {x} but {o}',
    '{x}, correction, {o}', '{x}, wait, no, {o}')

HELD_OUT = {
    'go': (
        'steer to', 'zoom over to', 'cruise to', 'wander over to', 'glide to',
        'direct yourself to', 'nip over to', 'bring the drone to',
        'transfer to'),
    'go_statements': (
        'i would like to see you at {o}', "let's meet at {o}", 'please be so good and fly to {o}',
        'the place to fly to is {o}', '{o} is waiting for you, fly over',
        'the thing to reach is {o}', 'what i want is that you go to {o}', '{o} - get there',
        'how about a trip to {o}', 'make sure you end up at {o}',
        'i want {o} right in front of you'),
    'search': (
        'scout for', 'have a look for', 'keep an eye out for', 'search high and low for',
        'sweep the field for', 'be on the lookout for', 'spy out', 'look out for'),
    'search_statements': (
        'somebody hid {o}, please find it', 'no idea where {o} is, so look for it',
        'your job: finding {o}', 'you have to look around to find {o}',
        'can {o} be found anywhere? search'),
    'orbit': (
        'revolve around', 'swing around', 'fly rings around', 'whirl around', 'cycle around',
        'make a full round around', 'wheel around', 'go for a spin around'),
    'orbit_statements': (
        'i want to see you circling {o} {d}', 'your task is a loop around {o} {d}',
        'let me see an orbit around {o} {d}', 'with {o} in the middle, fly a circle {d}',
        'your path is a circle around {o} {d}', 'make {o} the centre of your circle {d}'),
    'stop': (
        'knock it off', 'chill', 'hold your horses', 'sit tight', 'cut it out',
        'do not do anything', 'hang tight', 'stay right where you are now', 'drop everything',
        'cool down'),
    'chat': (
        'recite a poem', 'how old are you', 'what did you eat today', 'who is the president',
        'my favourite food is pizza', 'when does the shop close', 'add three and four',
        'sing me a lullaby', 'what is the capital of france', 'is it raining outside'),
    'things': (
        'fountain', 'helicopter', 'sandwich', 'statue', 'tent', 'windmill', 'scooter', 'puddle',
        'ladder', 'umbrella', 'mailbox', 'goat', 'swimming pool', 'rock', 'bench'),
    'strange': ('teal', 'fuchsia', 'aquamarine', 'burgundy', 'spotted', 'creamy', 'neon'),
}
