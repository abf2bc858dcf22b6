"""Stages as they come, in three lines; `hypnostream watch` shows more."""

from hypnostream.bridges.client import Client

for message in Client("tcp://127.0.0.1:5556", topics=("epoch",)):
    print(message.topic, message.seq, getattr(message, "stage", ""), flush=True)
