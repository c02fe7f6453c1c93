// Ends with a sentence when this Node is too old for the Convex CLI that is installed here, whose own
// message would be a stack trace. In the language of old Nodes, and no more than it needs.
const needed = () => {
  try {
    return require("./node_modules/convex/package.json");
  } catch (e) {
    return null;
  }
};

const convex = needed();
const range = convex && convex.engines && convex.engines.node;
const wanted = /^>=\s*(\d+)/.exec(range || "");
const own = process.versions.node;

if (convex === null) {
  console.error("The Convex CLI is not installed in " + __dirname + ": run `npm ci` there first. Nothing was deployed.");
  process.exit(1);
}
if (wanted && Number(own.split(".")[0]) < Number(wanted[1])) {
  console.error(
    "convex " + convex.version + " needs Node " + range + ", this is " + own + ". Nothing was deployed. " +
      "Install a newer Node, or take one from npm for this command: npx -p node@" + wanted[1] + " npm run deploy",
  );
  process.exit(1);
}
