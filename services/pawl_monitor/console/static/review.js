// The page of a review: sends what a reviewer says of an answer, and shows how far the review is.
(function () {
  "use strict";

  const head = document.getElementById("review");
  if (!head) return;
  const api = "/api/reviews/" + head.dataset.review;

  async function send(card, said, button) {
    const outcome = card.querySelector(".outcome");
    outcome.textContent = "sending";
    button.disabled = true;
    try {
      const response = await fetch(api + "/answers/" + card.dataset.answer, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Pawl-Review": "1" },
        body: JSON.stringify({ post: crypto.randomUUID(), ...said }),
      });
      if (!response.ok) {
        const told = await response.json();
        throw new Error(told.detail || (told.error && told.error.message) || response.statusText);
      }
      card.classList.add("judged");
      if (said.thumb) card.querySelectorAll("[data-thumb]").forEach((each) => each.setAttribute("aria-pressed", String(each.dataset.thumb === said.thumb)));
      outcome.textContent = "sent";
    } catch (error) {
      outcome.textContent = "not sent: " + error.message;
    }
    button.disabled = false;
  }

  document.querySelector(".review").addEventListener("click", (event) => {
    const button = event.target.closest("button"), card = event.target.closest("[data-answer]");
    if (!button || !card) return;
    if (button.dataset.thumb) return send(card, { thumb: button.dataset.thumb }, button);
    const text = card.querySelector("textarea").value.trim();
    if (text) return send(card, { correction: text }, button);
    card.querySelector(".outcome").textContent = "write what it should have said";
  });

  const sentences = { title: document.getElementById("review-said"), bar: document.getElementById("review-progress") };
  async function refresh() {
    try {
      const review = (await (await fetch(api)).json()).review;
      sentences.bar.value = review.reviewed;
      if (sentences.title.textContent !== review.said) sentences.title.textContent = review.said;
    } catch (error) {
      // the monitor is away: the next look may find it
    }
  }
  setInterval(refresh, 3000);
})();
