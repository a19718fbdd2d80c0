// Under “More”: the options of a challenge only where that challenge is chosen, and what is said of port 80 only where
// the CA asks it. Without this script all options are shown.
(() => {
  const challenge = document.getElementById("id_challenge");
  const parts = document.querySelectorAll("[data-shown-for]");
  const port80 = document.querySelector("[data-port-asked-for]");
  if (!challenge) return;
  const choose = () => {
    if (port80) port80.hidden = !port80.dataset.portAskedFor.split(" ").includes(challenge.value || "none");
    for (const part of parts) part.hidden = part.dataset.shownFor !== challenge.value;
  };
  challenge.addEventListener("change", choose);
  choose();
})();
