"use strict";
const frontier = document.getElementById("frontier");
const events = document.getElementById("events");
const live = new EventSource("/v1/live");
live.addEventListener("frontier", (event) => {
  frontier.textContent = "decided: epoch " + JSON.parse(event.data).epoch;
});
live.addEventListener("order", (event) => {
  const order = JSON.parse(event.data);
  const line = document.createElement("li");
  line.textContent = [order.tenant, order.order_id, order.event, order.reasons.join(", ")].join("  ");
  events.prepend(line);
  while (events.children.length > 50) {
    events.lastChild.remove();
  }
});
