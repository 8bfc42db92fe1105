"""How results look, to whatever shows them: a notebook, a page, a terminal; here lies what they all draw with."""
