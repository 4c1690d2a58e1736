"""How fast a model is on this machine, beside what the machine allows.

checkpoint.py   a model folder of any size with random weights
machine.py      what the machine can do at best
measure.py      load, encode, prefill and decode, timed
"""
