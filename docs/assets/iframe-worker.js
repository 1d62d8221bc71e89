// Search in a site that is opened from the disk: browsers start no worker from a file, so the same script runs in a
// hidden frame, and speaks through the same two doors, postMessage and the event "message". Served sites keep workers.
if (location.protocol === "file:") {
  class IFrameWorker extends EventTarget {
    #frame = document.createElement("iframe");
    #waiting = [];

    constructor(address) {
      super();
      this.#frame.hidden = true;
      document.body.append(this.#frame);
      const room = this.#frame.contentWindow;
      room.parent.IFrameWorker = IFrameWorker;  // the search script looks for it
      room.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      room.importScripts = (...scripts) => scripts.reduce(
        (before, script) => before.then(() => this.#load(new URL(script, address))), Promise.resolve());
      this.#load(address).then(() => {
        for (const data of this.#waiting.splice(0)) this.#deliver(data);
        this.#waiting = null;
      });
    }

    #load(address) {
      return new Promise((done, failed) => {
        const script = this.#frame.contentDocument.createElement("script");
        script.src = address;
        script.onload = done;
        script.onerror = failed;
        this.#frame.contentDocument.body.append(script);
      });
    }

    #deliver(data) {
      const room = this.#frame.contentWindow;
      room.dispatchEvent(new room.MessageEvent("message", { data }));
    }

    postMessage(data) {
      if (this.#waiting) this.#waiting.push(data);
      else this.#deliver(data);
    }

    terminate() {
      this.#frame.remove();
    }
  }
  window.Worker = IFrameWorker;
}
