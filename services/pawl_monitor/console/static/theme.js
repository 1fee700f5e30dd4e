// Runs before the first paint, so that a chosen theme does not flash.
(function () {
  "use strict";
  try {
    const chosen = localStorage.getItem("pawl-theme");
    if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  } catch (error) {
    // storage may be forbidden; the system's theme is then followed
  }
})();
