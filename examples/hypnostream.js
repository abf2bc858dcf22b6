/* Hypnostream in a browser or in node (22 or newer): one file, no dependency.

     <script src="hypnostream.js"></script>            const {Hypnostream} = require("./hypnostream.js")

     const stream = new Hypnostream("ws://127.0.0.1:8765/messages")
     stream.onepoch = epoch => console.log(epoch.epoch, epoch.stage ?? epoch.absent_reason, epoch.confidence)

   `hypnostream bridge web` sends what is settled so far, then what comes; docs/messages.md says what is in it. Who is
   cut off comes back by itself and gets what it missed, each message once. */
"use strict"

class Hypnostream {
  /* Each handler gets a message; `onstage` the provisional stages, `onepoch` the final ones.
     `onlost(topic, count)`: messages that were sent and will not come. Of topics that pass (stage.provisional) that is
     no harm. `onsession(session_id)`: another session is on; what was before is not of it.
     `onalive(alive)`: the session fell silent, or speaks again. `onclose(reason)`: the connection ended. */
  onepoch = null
  onstage = null
  onevent = null
  onstatus = null
  onheartbeat = null
  onlost = null
  onsession = null
  onalive = null
  onclose = null

  /* `topics`: beginnings of topics; none for all. Heartbeats always come along. */
  constructor(url, {topics = [], WebSocket = globalThis.WebSocket, firstWait_s = 0.25, longestWait_s = 10} = {}) {
    if (!WebSocket) throw new Error("there is no WebSocket here; node has one from version 22")
    this.url = new URL(url)
    this.topics = topics.length ? [...topics, "heartbeat"] : []
    for (const topic of this.topics) this.url.searchParams.append("topic", topic)
    this.session = null // its id
    this.lost = {} // how many messages did not come, by topic
    this.malformed = 0 // what came and was no message
    this.connections = 0
    this._WebSocket = WebSocket
    this._firstWait_s = this._wait_s = firstWait_s
    this._longestWait_s = longestWait_s
    this._next = {} // the seq that comes next, by topic
    this._interval_s = 1
    this._heard = -Infinity
    this._boot = null
    this._wasAlive = false
    this._closed = false
    this._pulse = setInterval(() => this._feel(), 250)
    this._connect()
  }

  /* Whether fewer than three heartbeats were missed; a network's jitter of a second is forgiven. */
  get alive() {
    return performance.now() - this._heard <= 1000 * Math.max(1, 3 * this._interval_s)
  }

  close() {
    this._closed = true
    clearInterval(this._pulse)
    clearTimeout(this._again)
    this._socket.close()
  }

  _connect() {
    const socket = (this._socket = new this._WebSocket(this.url))
    socket.onopen = () => this.connections++
    socket.onmessage = ({data}) => this._enter(data)
    socket.onclose = ({code, reason}) => ended(reason || `connection closed (${code})`)
    socket.onerror = () => ended("connection failed") // node 20 says no more than this
    let over = false
    const ended = reason => {
      if (over) return
      over = true
      this._call("onclose", reason)
      if (this._closed) return
      // Not all at once: everyone who watched a bridge that restarts would come in the same instant.
      this._again = setTimeout(() => this._connect(), 1000 * this._wait_s * (0.5 + Math.random() / 2))
      this._wait_s = Math.min(2 * this._wait_s, this._longestWait_s)
    }
  }

  _enter(text) {
    let message
    try {
      message = JSON.parse(text)
    } catch {}
    if (message?.schema !== "hypnostream.message" || !/^1\./.test(message.version)) {
      this.malformed++
      return
    }
    this._wait_s = this._firstWait_s
    this._heard = performance.now()
    if (message.origin.session_id !== this.session) {
      this.session = message.origin.session_id
      this._next = {}
      this._call("onsession", this.session)
    }
    if (message.origin.boot_id !== this._boot) {
      this._boot = message.origin.boot_id
      delete this._next.heartbeat // alone starts again with each process
    }
    const next = this._next[message.topic] ?? message.seq // who joins late has not lost what was before
    if (message.seq < next) return
    this._lose(message.topic, message.seq - next)
    this._next[message.topic] = message.seq + 1
    if (message.kind === "heartbeat") this._interval_s = message.interval_s
    const handlers = {"stage.provisional": "onstage", epoch: "onepoch"}
    this._call(handlers[message.topic] ?? `on${message.kind}`, message)
    this._feel()
  }

  _lose(topic, count) {
    if (count <= 0) return
    this.lost[topic] = (this.lost[topic] ?? 0) + count
    this._call("onlost", topic, count)
  }

  _feel() {
    if (this.alive === this._wasAlive) return
    this._wasAlive = this.alive
    this._call("onalive", this._wasAlive)
  }

  /* A page's mistake in one handler must not cost it the messages after. */
  _call(handler, ...values) {
    try {
      this[handler]?.(...values)
    } catch (error) {
      console.error(error)
    }
  }
}

if (typeof module !== "undefined") module.exports = {Hypnostream}
