"""One file a recipe. They differ in the examples they pick and the TRL trainer they use; skeleton.py does the rest."""
