"""Stages as they come, in a few lines; `hypnostream watch` shows more."""

from hypnostream.bridges.client import Client

for message in Client("tcp://127.0.0.1:5556", topics=("epoch",)):
    if message.kind == "epoch":  # a heartbeat comes along each second
        print(message.epoch, message.stage or message.absent_reason, f"{message.confidence:.0%}", flush=True)
