// pair_style clebsch: a LAMMPS plug-in without torch.
//
// Each rank starts a worker, a Python process that holds the model (worker.py), and shares memory
// with it. The plug-in gives it edges and atoms, lends it LAMMPS's communication for the features
// of ghosts at every layer, and turns the energies and their derivatives by the edges into forces
// and virials. The two talk in messages of fixed size over a socket; worker.py mirrors them.
//
// Built for one version of LAMMPS, -DCLEBSCH_LAMMPS=yyyymmdd, and one interpreter,
// -DCLEBSCH_PYTHON="/path/to/python".

#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "lammps.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "pair.h"
#include "update.h"
#include "utils.h"

extern char **environ;

namespace {

typedef std::int64_t Int;

enum Operation : Int { LOAD = 1, COMPUTE = 2, FORWARD = 3, REVERSE = 4, DONE = 5, FAILED = 6 };

// One message; `text` bytes follow it. Offsets are bytes from the start of the shared memory.
struct Message {
  Int operation = 0, text = 0;
  Int local = 0, all = 0, edges = 0, size = 0;
  Int species = 0, dst = 0, src = 0, vectors = 0, energies = 0, slopes = 0, rows = 0;
  Int width = 0, item = 0;  // of a row that is exchanged: numbers, and bytes of one
  Int spare = 0;
};
static_assert(sizeof(Message) == 128, "worker.py reads 16 integers");

// The process that evaluates the model, and the memory it shares with this one.
class Worker {
 public:
  ~Worker() {
    if (socket_ >= 0) close(socket_);  // the worker ends when its socket does
    if (child_ > 0) waitpid(child_, nullptr, 0);
    if (memory_ != nullptr) munmap(memory_, size_);
    if (file_ >= 0) close(file_);
  }

  // Empty, or why there is no worker.
  std::string start() {
    const char *chosen = std::getenv("CLEBSCH_PYTHON");
    const std::string python = chosen != nullptr && *chosen ? chosen : CLEBSCH_PYTHON;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return failure("no socket to the model");
    socket_ = pair[0];
    fcntl(socket_, F_SETFD, FD_CLOEXEC);
    file_ = memory_file();
    if (file_ < 0) return failure("no shared memory for the model");
    const std::string ends = std::to_string(pair[1]) + "," + std::to_string(file_);
    const char *arguments[] = {python.c_str(), "-P", "-m", "clebsch.lammps.worker", ends.c_str(),
                               nullptr};
    posix_spawn_file_actions_t actions;  // LAMMPS may read its script from the standard input
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    const int error = posix_spawn(&child_, python.c_str(), &actions, nullptr,
                                  const_cast<char **>(arguments), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    fcntl(file_, F_SETFD, FD_CLOEXEC);
    if (error != 0) {
      child_ = -1;
      return python + " cannot be started (" + std::strerror(error) +
             "): set CLEBSCH_PYTHON to the Python that has clebsch";
    }
    return "";
  }

  // Empty, or why not.
  std::string reserve(Int size) {
    if (size <= size_) return "";
    const Int wanted = size + size / 4;
    if (memory_ != nullptr) munmap(memory_, size_);
    memory_ = nullptr;
    size_ = 0;
    if (ftruncate(file_, wanted) != 0) return failure("no shared memory for the model");
    void *found = mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
    if (found == MAP_FAILED) return failure("no shared memory for the model");
    memory_ = static_cast<char *>(found);
    size_ = wanted;
    return "";
  }

  template <class T> T *at(Int offset) { return reinterpret_cast<T *>(memory_ + offset); }
  Int size() const { return size_; }

  std::string send(const Message &message, const std::string &text = "") {
    return put(&message, sizeof message) && put(text.data(), text.size()) ? "" : ended();
  }

  // The next message of the worker; `text` is what came with it.
  std::string receive(Message &message, std::string &text) {
    if (!get(&message, sizeof message)) return ended();
    text.assign(message.text, '\0');
    if (!get(&text[0], message.text)) return ended();
    return message.operation == FAILED ? text : "";
  }

 private:
  pid_t child_ = -1;
  int socket_ = -1, file_ = -1;
  char *memory_ = nullptr;
  Int size_ = 0;

  static int memory_file() {
#ifdef __linux__
    return memfd_create("clebsch", 0);
#else
    std::FILE *file = std::tmpfile();
    return file != nullptr ? dup(fileno(file)) : -1;
#endif
  }

  static std::string failure(const char *what) {
    return std::string(what) + " (" + std::strerror(errno) + ")";
  }

  std::string ended() {
    int status = 0;
    std::string how = "without a word";
    if (child_ > 0 && waitpid(child_, &status, 0) == child_) {
      if (WIFSIGNALED(status)) how = "by signal " + std::to_string(WTERMSIG(status));
      if (WIFEXITED(status)) how = "with exit code " + std::to_string(WEXITSTATUS(status));
    }
    child_ = -1;
    return "the process that evaluates the model ended " + how +
           "; what it said stands above, if anything (too little memory ends it by signal 9)";
  }

  bool put(const void *data, std::size_t count) {
    const char *place = static_cast<const char *>(data);
    while (count > 0) {
      const ssize_t sent = ::send(socket_, place, count, MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) return false;
      place += sent;
      count -= sent;
    }
    return true;
  }

  bool get(void *data, std::size_t count) {
    char *place = static_cast<char *>(data);
    while (count > 0) {
      const ssize_t received = ::recv(socket_, place, count, 0);
      if (received < 0 && errno == EINTR) continue;
      if (received <= 0) return false;
      place += received;
      count -= received;
    }
    return true;
  }
};

// A line of the request to load a model.
std::string line(const std::string &key, const std::string &value) {
  return key + "=" + value + "\n";
}

Int aligned(Int size) { return (size + 63) / 64 * 64; }

}  // namespace

namespace LAMMPS_NS {

class PairClebsch : public Pair {
 public:
  PairClebsch(LAMMPS *lmp) : Pair(lmp) {
    restartinfo = 0;  // everything is in the model file
    one_coeff = 1;
    manybody_flag = 1;
    single_enable = 0;
    no_virial_fdotr_compute = 1;
    centroidstressflag = CENTROID_NOTAVAIL;
    unit_convert_flag = utils::get_supported_conversions(utils::ENERGY);
  }

  ~PairClebsch() override {
    retire();
    if (allocated) {
      memory->destroy(setflag);
      memory->destroy(cutsq);
    }
  }

  void settings(int count, char **words) override {
    for (int n = 0; n < count; n += 2) {
      const std::string key = words[n];
      if (n + 1 == count) error->all(FLERR, "pair_style clebsch: '{}' needs a value", key);
      const std::string value = words[n + 1];
      const bool known =
          key == "device" || (key == "threads" && std::atoi(value.c_str()) > 0) ||
          (key == "precision" && (value == "model" || value == "single" || value == "double")) ||
          (key == "domain" && (value == "warn" || value == "stop" || value == "off"));
      if (!known)
        error->all(FLERR,
                   "pair_style clebsch: '{} {}' is none of: device NAME, threads N, precision "
                   "model|single|double, domain warn|stop|off", key, value);
      if (key == "domain") domain_ = value;
      else options_ += line(key, value);
    }
  }

  void coeff(int count, char **words) override {
    if (!allocated) {
      const int n = atom->ntypes + 1;
      allocated = 1;
      memory->create(setflag, n, n, "pair:setflag");
      memory->create(cutsq, n, n, "pair:cutsq");
      map = new int[n];
      for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) setflag[i][j] = 0, cutsq[i][j] = 0.0;
    }
    const int named = count - 3;
    if (named != atom->ntypes)
      error->all(FLERR,
                 "pair_coeff of pair_style clebsch: * *, the model file and one element (or NULL) "
                 "for each of the {} atom types; {} are given", atom->ntypes, std::max(named, 0));
    file_ = words[2];
    map_element2type(named, words + 3);
    load();
  }

  void init_style() override {
    if (!force->newton_pair)
      error->all(FLERR, "pair_style clebsch needs 'newton on': forces on ghosts are sent back");
    if (std::strcmp(update->unit_style, "metal") == 0) scale_ = 1.0;
    else if (std::strcmp(update->unit_style, "real") == 0)
      scale_ = utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL);
    else
      error->all(FLERR, "pair_style clebsch knows the unit styles metal and real, not {}",
                 update->unit_style);
    if (atom->molecular != Atom::ATOMIC)
      for (int n = 1; n < 4; n++)
        if (force->special_lj[n] == 0.0 && force->special_coul[n] == 0.0)
          error->all(FLERR,
                     "special_bonds leaves bonded pairs out of the neighbour list, which a model "
                     "of all atoms needs: use 'special_bonds lj/coul 1.0 1.0 1.0'");
    if (neighbor->exclude && comm->me == 0)
      error->warning(FLERR, "neigh_modify exclude takes pairs from pair_style clebsch too");
    comm_forward = comm_reverse = (widest_ * item_ + 7) / 8;
    // A hybrid asked for the sizes before the model was loaded.
    force->pair->comm_forward = std::max(force->pair->comm_forward, comm_forward);
    force->pair->comm_reverse = std::max(force->pair->comm_reverse, comm_reverse);
    neighbor->add_request(this, NeighConst::REQ_FULL);
    warned_ = false;
  }

  double init_one(int i, int j) override {
    if (setflag[i][j] == 0) error->all(FLERR, "All pair coeffs are not set");
    return map[i] < 0 || map[j] < 0 ? cutoff_ : cutoffs_[map[i] * nelements + map[j]];
  }

  double memory_usage() override { return worker_ != nullptr ? double(worker_->size()) : 0.0; }

  void compute(int eflag, int vflag) override {
    ev_init(eflag, vflag);
    double **x = atom->x, **f = atom->f;
    const int *type = atom->type;
    const Int local = atom->nlocal, all = local + atom->nghost;

    Int most = 0;
    for (int n = 0; n < list->inum; n++) most += list->numneigh[list->ilist[n]];
    Message message;
    message.operation = COMPUTE;
    message.local = local;
    message.all = all;
    message.species = 0;
    message.dst = aligned(message.species + all * sizeof(Int));
    message.src = aligned(message.dst + most * sizeof(Int));
    message.vectors = aligned(message.src + most * sizeof(Int));
    message.energies = aligned(message.vectors + 3 * most * sizeof(double));
    message.slopes = aligned(message.energies + local * sizeof(double));
    message.rows = aligned(message.slopes + 3 * most * sizeof(double));
    must(worker_->reserve(aligned(message.rows + all * widest_ * item_)));
    message.size = worker_->size();

    Int *species = worker_->at<Int>(message.species);
    for (Int n = 0; n < all; n++) species[n] = map[type[n]];
    Int *dst = worker_->at<Int>(message.dst), *src = worker_->at<Int>(message.src);
    double *vectors = worker_->at<double>(message.vectors);
    Int edges = 0;
    double excess = 0.0;
    Int close_i = -1, close_j = -1;
    for (int n = 0; n < list->inum; n++) {
      const int i = list->ilist[n], a = map[type[i]];
      if (a < 0) continue;
      const int *neighbours = list->firstneigh[i];
      for (int m = 0; m < list->numneigh[i]; m++) {
        const int j = neighbours[m] & NEIGHMASK, b = map[type[j]];
        if (b < 0) continue;
        const double d[3] = {x[j][0] - x[i][0], x[j][1] - x[i][1], x[j][2] - x[i][2]};
        const double squared = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
        const double cutoff = cutoffs_[a * nelements + b];
        if (!(squared < cutoff * cutoff)) continue;
        if (squared == 0.0)
          error->one(FLERR, "atoms {} and {} are at the same place", atom->tag[i], atom->tag[j]);
        const double shortest = shortest_[a * nelements + b];
        if (squared < shortest * shortest && std::sqrt(squared) - shortest < excess) {
          excess = std::sqrt(squared) - shortest;
          close_i = i;
          close_j = j;
        }
        std::memcpy(vectors + 3 * edges, d, sizeof d);
        dst[edges] = i;
        src[edges] = j;
        edges++;
      }
    }
    message.edges = edges;
    if (close_i >= 0 && domain_ != "off") left_domain(close_i, close_j);

    busy_ = true;
    must(worker_->send(message));
    for (;;) {
      Message answer;
      std::string text;
      must(worker_->receive(answer, text));
      if (answer.operation == DONE) break;
      rows_ = worker_->at<char>(message.rows);
      width_ = answer.width;
      if (width_ > widest_) error->one(FLERR, "the model exchanges rows that are too wide");
      const int numbers = int((width_ * item_ + 7) / 8);
      if (answer.operation == FORWARD) comm->forward_comm(this, numbers);
      else comm->reverse_comm(this, numbers);
      must(worker_->send(answer));
    }

    busy_ = false;

    const double *energies = worker_->at<double>(message.energies);
    for (int n = 0; n < list->inum; n++) {
      const int i = list->ilist[n];
      if (map[type[i]] < 0) continue;
      const double energy = scale_ * energies[i];
      if (!std::isfinite(energy))
        error->one(FLERR, "the energy of atom {} is not a finite number", atom->tag[i]);
      if (eflag_global) eng_vdwl += energy;
      if (eflag_atom) eatom[i] += energy;
    }
    const double *slopes = worker_->at<double>(message.slopes);
    for (Int e = 0; e < edges; e++) {
      const Int i = dst[e], j = src[e];
      const double *d = vectors + 3 * e;
      const double q[3] = {scale_ * slopes[3 * e], scale_ * slopes[3 * e + 1],
                           scale_ * slopes[3 * e + 2]};
      for (int c = 0; c < 3; c++) f[i][c] += q[c], f[j][c] -= q[c];
      if (!vflag_either) continue;
      const double v[6] = {-d[0] * q[0],
                           -d[1] * q[1],
                           -d[2] * q[2],
                           -0.5 * (d[0] * q[1] + d[1] * q[0]),
                           -0.5 * (d[0] * q[2] + d[2] * q[0]),
                           -0.5 * (d[1] * q[2] + d[2] * q[1])};
      for (int c = 0; c < 6; c++) {
        if (vflag_global) virial[c] += v[c];
        if (vflag_atom) vatom[i][c] += 0.5 * v[c], vatom[j][c] += 0.5 * v[c];
      }
    }
  }

  int pack_forward_comm(int n, int *indices, double *buffer, int, int *) override {
    const Int bytes = width_ * item_, numbers = (bytes + 7) / 8;
    for (int k = 0; k < n; k++)
      std::memcpy(buffer + k * numbers, rows_ + indices[k] * bytes, bytes);
    return int(n * numbers);
  }

  void unpack_forward_comm(int n, int first, double *buffer) override {
    const Int bytes = width_ * item_, numbers = (bytes + 7) / 8;
    for (int k = 0; k < n; k++)
      std::memcpy(rows_ + (first + k) * bytes, buffer + k * numbers, bytes);
  }

  int pack_reverse_comm(int n, int first, double *buffer) override {
    const Int bytes = width_ * item_, numbers = (bytes + 7) / 8;
    for (int k = 0; k < n; k++)
      std::memcpy(buffer + k * numbers, rows_ + (first + k) * bytes, bytes);
    return int(n * numbers);
  }

  void unpack_reverse_comm(int n, int *indices, double *buffer) override {
    if (item_ == sizeof(float)) add<float>(n, indices, buffer);
    else add<double>(n, indices, buffer);
  }

 private:
  Worker *worker_ = nullptr;
  std::string file_, options_, request_, domain_ = "warn";
  double cutoff_ = 0.0, scale_ = 1.0;
  std::vector<double> cutoffs_, shortest_;  // (nelements, nelements)
  Int widest_ = 0, item_ = 8;               // of the rows that are exchanged
  char *rows_ = nullptr;
  Int width_ = 0;
  bool warned_ = false, busy_ = false;

  template <class T> void add(int n, const int *indices, const double *buffer) {
    const Int numbers = (width_ * item_ + 7) / 8;
    T *rows = reinterpret_cast<T *>(rows_);
    for (int k = 0; k < n; k++) {
      const T *from = reinterpret_cast<const T *>(buffer + k * numbers);
      T *to = rows + indices[k] * width_;
      for (Int c = 0; c < width_; c++) to[c] += from[c];
    }
  }

  // A failure on one rank only: the others wait for it in vain.
  void must(const std::string &why) {
    if (!why.empty()) error->one(FLERR, "pair_style clebsch: {}", why);
  }

  // A failure that may be on some ranks or on all: all of them hear the first.
  void all_must(std::string why) {
    const int mine = why.empty() ? comm->nprocs : comm->me;
    int first = 0;
    MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, world);
    if (first == comm->nprocs) return;
    int length = int(why.size());
    MPI_Bcast(&length, 1, MPI_INT, first, world);
    why.resize(length);
    MPI_Bcast(&why[0], length, MPI_CHAR, first, world);
    error->all(FLERR, "pair_style clebsch: {}", why);
  }

  // The worker waits for a pair style that asks for the same again (after "clear", say).
  void retire() {
    if (busy_) delete worker_;  // an error came while it computed
    else if (worker_ != nullptr) idle().emplace_back(request_, worker_);
    worker_ = nullptr;
    busy_ = false;
  }

  static std::vector<std::pair<std::string, Worker *>> &idle() {
    static std::vector<std::pair<std::string, Worker *>> workers;
    return workers;
  }

  std::string employ(Message &message, std::string &text) {
    auto &waiting = idle();
    for (std::size_t n = 0; n < waiting.size() && worker_ == nullptr; n++)
      if (waiting[n].first == request_) {
        worker_ = waiting[n].second;
        waiting.erase(waiting.begin() + n);
      }
    const bool fresh = worker_ == nullptr;
    if (fresh) worker_ = new Worker;
    std::string why = fresh ? worker_->start() : "";
    if (why.empty()) why = worker_->send(message, text);
    if (why.empty()) why = worker_->receive(message, text);
    return why;
  }

  void load() {
    retire();
    request_ = line("file", file_) + options_;
    for (int n = 0; n < nelements; n++) request_ += line("element", elements[n]);
    Message message;
    message.operation = LOAD;
    std::string text = request_;
    message.text = Int(text.size());
    all_must(employ(message, text));
    widest_ = message.width;
    item_ = message.item;
    const int pairs = nelements * nelements;
    const double *numbers = reinterpret_cast<const double *>(text.data());
    cutoffs_.resize(pairs);
    shortest_.resize(pairs);
    std::memcpy(cutoffs_.data(), numbers, pairs * sizeof(double));
    std::memcpy(shortest_.data(), numbers + pairs, pairs * sizeof(double));
    cutoff_ = *std::max_element(cutoffs_.begin(), cutoffs_.end());
    if (comm->me == 0)
      utils::logmesg(lmp, "pair_style clebsch: {}, cutoff {} A, {} per number\n", file_, cutoff_,
                     item_ == 8 ? "8 bytes" : "4 bytes");
  }

  void left_domain(Int i, Int j) {
    const double *a = atom->x[i], *b = atom->x[j];
    const double d[3] = {a[0] - b[0], a[1] - b[1], a[2] - b[2]};
    const double r = std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
    const int one = map[atom->type[i]], other = map[atom->type[j]];
    const std::string what = fmt::format(
        "step {}: atoms {} ({}) and {} ({}) are {:.2f} A apart, closer than the {:.2f} A that the "
        "model's training allows", update->ntimestep, atom->tag[i], elements[one], atom->tag[j],
        elements[other], r, shortest_[one * nelements + other]);
    if (domain_ == "stop") error->one(FLERR, "pair_style clebsch: {}", what);
    if (!warned_) error->warning(FLERR, what + "; this is said once per run");
    warned_ = true;
  }
};

}  // namespace LAMMPS_NS

// As in LAMMPS's lammpsplugin.h, which its packages do not bring.
extern "C" {
typedef void *(lammpsplugin_factory1)(void *);
typedef void *(lammpsplugin_factory2)(void *, int, char **);
typedef struct {
  const char *version, *style, *name, *info, *author;
  union {
    lammpsplugin_factory1 *v1;
    lammpsplugin_factory2 *v2;
  } creator;
  void *handle;
} lammpsplugin_t;
typedef void (*lammpsplugin_regfunc)(lammpsplugin_t *, void *);
}

static void *create(void *lmp) {
  return new LAMMPS_NS::PairClebsch(static_cast<LAMMPS_NS::LAMMPS *>(lmp));
}

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle,
                                                                         void *registrar) {
  // Asked through the C library: members of another version's classes may lie elsewhere.
  typedef int (*Version)(void *);
  Version version = reinterpret_cast<Version>(dlsym(RTLD_DEFAULT, "lammps_version"));
  const int running = version != nullptr ? version(lmp) : 0;
  if (running != CLEBSCH_LAMMPS) {
    std::fprintf(stderr,
                 "pair_style clebsch was built for LAMMPS %d and is left out of this one (%d): "
                 "install clebsch beside the LAMMPS that you run\n", CLEBSCH_LAMMPS, running);
    return;
  }
  lammpsplugin_t plugin;
  std::memset(&plugin, 0, sizeof plugin);
  plugin.version = static_cast<LAMMPS_NS::LAMMPS *>(lmp)->version;
  plugin.style = "pair";
  plugin.name = "clebsch";
  plugin.info = "interatomic potentials of clebsch";
  plugin.author = "the clebsch developers";
  plugin.creator.v1 = &create;
  plugin.handle = handle;
  reinterpret_cast<lammpsplugin_regfunc>(registrar)(&plugin, lmp);
}
