"""Query and retrieve as service class user: C-FIND, C-MOVE, C-GET towards a peer (PS3.4 Annexes C, K)."""
