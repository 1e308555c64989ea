"""Short texts for the demo to find, each about something that a photograph or a sound shows."""

TEXTS = {
    "cat": "A ginger cat with green eyes looks straight into the camera.",
    "space-walk": "An astronaut in an orange space suit smiles in front of an American flag.",
    "morning-coffee": "A cup of coffee stands on a red saucer with a spoon on a wooden table.",
    "old-money": "Old coins from ancient Greece and Rome lie in rows in a museum case.",
    "man-with-camera": "A man in a black coat takes a photograph with a camera on a tripod.",
    "universe": "Thousands of distant galaxies and stars shine in the black sky of deep space.",
    "masonry": "A wall of bricks needs mortar, a level and a patient bricklayer.",
    "horse": "A black horse stands still; its mane and tail are long.",
    "rainy-day": "It has been raining all day. Raindrops fall on the roof and run down the window.",
    "seaside": "Ocean waves break on the beach and roll back over the sand.",
    "storm": "After the lightning comes the thunder, and it rumbles over the hills.",
    "camp-fire": "The fire crackles and pops in the dark while we sit around the flames.",
    "guard-dog": "The neighbour's dog is barking at the postman again.",
    "farm": "At dawn the rooster crows and wakes the whole farm.",
    "waiting": "Nothing can be heard in the room but the clock: tick, tock, tick, tock.",
    "rescue": "A rescue helicopter hovers over the mountain and lowers a rope.",
    "firewood": "He cuts the fallen tree into firewood with a chainsaw.",
    "emergency": "An ambulance races through the city with its siren on.",
}
"""File name (without ``.txt``) → the text."""
