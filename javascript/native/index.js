// Named one by one, so that `import` finds them too.
const { listen, open, peerOf } = require("./panpipe.node");

module.exports = { listen, open, peerOf };
